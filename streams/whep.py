"""Watches a WebRTC stream by WHEP (draft-ietf-wish-whep) and passes on what it shows, through a pipe."""

from __future__ import annotations

import asyncio
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from diffir_video.errors import LiveInputError, UsageError
from diffir_video.media import RawMuxer
from streams.addresses import Address

_ANSWER_SECONDS = 5.0
_LEAVE_SECONDS = 1.5
_SDP = "application/sdp"


@contextmanager
def watched(address: Address) -> Generator[int]:
    """The descriptor of a pipe with the stream at a whep:// address, decoded, as NUT.

    A password in the address is sent as the bearer token. What went wrong is raised when the block fails:
    LiveInputError where the server refuses or offers no video. Needs aiortc, see `check_whep`.
    """
    rtc = import_module("aiortc")
    readable, writable = os.pipe()
    visit = _Visit(rtc, address, writable)
    try:
        yield readable
    except LiveInputError:
        if visit.failure is not None:
            raise visit.failure.untraced() from None
        raise
    finally:
        # Whoever writes to it now gets an error instead of waiting for a reader.
        os.close(readable)
        visit.end()


class _Visit:
    """One connection, in a thread and an event loop of its own."""

    def __init__(self, rtc: Any, address: Address, writable: int) -> None:
        self.failure: LiveInputError | None = None
        self._rtc, self._address, self._writable = rtc, address, writable
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._watch())
        self._thread = threading.Thread(target=self._run, name="diffir-whep", daemon=True)
        self._thread.start()

    def end(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_LEAVE_SECONDS)

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError, BrokenPipeError):
                self._loop.run_until_complete(self._task)
        except LiveInputError as failure:
            self.failure = failure.untraced()
        except Exception as exc:  # noqa: BLE001 - whatever a server sends, a source can connect again
            self.failure = LiveInputError(f"{self._address}: {type(exc).__name__}", reason="broken")
        finally:
            os.close(self._writable)
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _watch(self) -> None:
        url, token = _endpoint(self._address.text)
        peer = self._rtc.RTCPeerConnection(self._rtc.RTCConfiguration(iceServers=[]))
        resource: str | None = None
        try:
            for kind in ("video", "audio"):
                peer.addTransceiver(kind, direction="recvonly")
            await peer.setLocalDescription(await peer.createOffer())
            offer = peer.localDescription.sdp
            resource, answer = await asyncio.to_thread(self._ask, url, token, offer)
            await peer.setRemoteDescription(self._rtc.RTCSessionDescription(sdp=answer, type="answer"))
            sent = [each for each in peer.getTransceivers() if each.currentDirection == "recvonly"]
            if not any(each.kind == "video" for each in sent):
                raise LiveInputError(f"{self._address}: the server offers no video", reason="no_video")
            with suppress(self._rtc.mediastreams.MediaStreamError):
                await _pass_on([each.receiver.track for each in sent], self._write)
        finally:
            if resource is not None:
                await asyncio.to_thread(_leave, resource, token)
            await peer.close()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._writable, rest) :]

    def _ask(self, url: str, token: str | None, sdp: str) -> tuple[str | None, str]:
        """Send an offer; the address of what the server made for it, and its answer."""
        request = urllib.request.Request(url, sdp.encode(), {"Content-Type": _SDP, **_authorization(token)})
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                location = answer.headers.get("Location")
                return location and urljoin(url, location), answer.read().decode()
        except urllib.error.HTTPError as exc:
            reason = "refused" if exc.code in (401, 403) else "absent"
            raise LiveInputError(f"{self._address}: the server says {exc.code}", reason=reason) from None
        except OSError:
            raise LiveInputError(f"{self._address}: no server answers", reason="absent") from None


async def _pass_on(tracks: list[Any], write: Callable[[bytes], None]) -> None:
    """Until a track ends. Sound before the first picture is left out: nobody knows yet how large that is."""
    muxer: RawMuxer | None = None

    async def follow(track: Any) -> None:
        nonlocal muxer
        while True:
            frame = await track.recv()
            if muxer is None and track.kind == "video":
                muxer = RawMuxer(frame, has_audio=len(tracks) > 1)
            if muxer is not None:
                write(muxer.add(frame))

    await asyncio.gather(*map(follow, tracks))


def _endpoint(address: str) -> tuple[str, str | None]:
    """whep://:TOKEN@host/path → http://host/path and the token; wheps:// is https://."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    scheme = {"whep": "http", "wheps": "https"}[parts.scheme]
    return urlunsplit((scheme, host, parts.path, parts.query, "")), parts.password


def _leave(resource: str, token: str | None) -> None:
    request = urllib.request.Request(resource, method="DELETE", headers=_authorization(token))
    # A server that forgets to tell us goodbye forgets us by itself.
    with suppress(OSError), urllib.request.urlopen(request, timeout=1):
        pass


def _authorization(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def check_whep() -> None:
    """Raise UsageError without aiortc."""
    if find_spec("aiortc") is None:
        raise UsageError("WHEP needs aiortc: pip install 'diffir-video[webrtc]'")
