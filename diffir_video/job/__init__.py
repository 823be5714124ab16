"""File jobs: one file restored into another, in segments that survive whatever happens."""

from diffir_video.job.cutting import SEGMENT_FRAMES
from diffir_video.job.file_job import plan_file, restore_file
from diffir_video.job.folder_job import FolderEntry, folder_places, restore_folder
from diffir_video.job.options import JobOptions
from diffir_video.job.picture_job import restore_pictures
from diffir_video.job.pipe_job import restore_pipe
from diffir_video.job.plan import FilePlan
from diffir_video.job.report import FileReport, PlainReport, save_report
from diffir_video.job.restorers import FileRestorer
from diffir_video.job.sample_job import sample_file
from diffir_video.job.verification import Verification
from diffir_video.job.work_folder import WorkFolder

__all__ = [
    "SEGMENT_FRAMES",
    "FilePlan",
    "FileReport",
    "FileRestorer",
    "FolderEntry",
    "JobOptions",
    "PlainReport",
    "Verification",
    "WorkFolder",
    "folder_places",
    "plan_file",
    "restore_file",
    "restore_folder",
    "restore_pictures",
    "restore_pipe",
    "sample_file",
    "save_report",
]
