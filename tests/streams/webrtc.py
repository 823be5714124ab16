"""A WebRTC server on loopback, of aiortc: it plays a clip by WHEP and records what comes by WHIP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer, MediaRecorder


class WebRtcServer:
    """played: the clip behind /whep. recorded: where what is sent to /whip goes. token: asked of everyone."""

    def __init__(self, played: Path, recorded: Path, token: str | None = None) -> None:
        self.token, self.left = token, 0
        self._played, self._recorded = played, recorded
        self._peers: list[tuple[RTCPeerConnection, Any]] = []
        self._loop = asyncio.new_event_loop()

    def answer(self, path: str, offer: str) -> str:
        serve = self._show if path == "/whep" else self._record
        return asyncio.run_coroutine_threadsafe(serve(offer), self._loop).result(10)

    def leave(self) -> None:
        self.left += 1
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _show(self, offer: str) -> str:
        peer, player = self._peer(), MediaPlayer(str(self._played))
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        for track in (player.video, player.audio):
            if track is not None:
                peer.addTrack(track)
        self._peers.append((peer, None))
        return await self._accept(peer)

    async def _record(self, offer: str) -> str:
        peer, recorder = self._peer(), MediaRecorder(str(self._recorded), format="matroska")
        peer.on("track", recorder.addTrack)
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self._peers.append((peer, recorder))
        answer = await self._accept(peer)
        await recorder.start()
        return answer

    async def _accept(self, peer: RTCPeerConnection) -> str:
        await peer.setLocalDescription(await peer.createAnswer())
        return peer.localDescription.sdp

    def _peer(self) -> RTCPeerConnection:
        return RTCPeerConnection(RTCConfiguration(iceServers=[]))

    async def _close(self) -> None:
        peers, self._peers = self._peers, []
        for peer, recorder in peers:
            if recorder is not None:
                await recorder.stop()
            await peer.close()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its address, host and port."""
        handler = type("Handler", (_Handler,), {"owner": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threads = [threading.Thread(target=run) for run in (server.serve_forever, self._loop.run_forever)]
            for thread in threads:
                thread.start()
            try:
                yield f"127.0.0.1:{server.server_address[1]}"
            finally:
                asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
                server.shutdown()
                self._loop.call_soon_threadsafe(self._loop.stop)
                for thread in threads:
                    thread.join()
                self._loop.close()


class _Handler(BaseHTTPRequestHandler):
    owner: WebRtcServer

    def do_POST(self) -> None:
        token = self.owner.token
        if token is not None and self.headers.get("Authorization") != f"Bearer {token}":
            self.send_error(401)
            return
        offer = self.rfile.read(int(self.headers["Content-Length"])).decode()
        body = self.owner.answer(self.path.split("?")[0], offer).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/sdp")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/resource/1")
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.owner.leave()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
