#!/usr/bin/env python3
"""Plays an RTSP URL with GStreamer's rtspsrc (protocols=tcp), decoding everything, and says what came.

usage: play.py URL SECONDS

SECONDS are of pictures and of sound, by their own time stamps: a busy machine takes longer and sees the same.

Prints one JSON object: decoded pictures and blocks of sound, what the jitter buffers of all tracks missed, saw twice
or took as late, and the errors and warnings of the pipeline. Exits with 0 when there were none of those.
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402 (gi wants the version first)

FIRST_PICTURE_SECONDS = 20
# What playing may take longer than what is played.
SLACK_SECONDS = 25
TROUBLE = ("num-lost", "num-late", "num-duplicates")
PIPELINE = (
    "rtspsrc protocols=tcp latency=200 name=src "
    "src. ! application/x-rtp,media=video ! decodebin ! fakesink name=video sync=false async=false "
    "src. ! application/x-rtp,media=audio ! decodebin ! fakesink name=audio sync=false async=false"
)


class Player:
    """One pipeline and what it saw."""

    def __init__(self, url, seconds):
        self.seconds = seconds
        self.counts = {"video": 0, "audio": 0}
        self.first = {}
        self.played = {"video": 0.0, "audio": 0.0}
        self.complaints = []
        self.buffers = []
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(PIPELINE)
        source = self.pipeline.get_by_name("src")
        source.set_property("location", url)
        source.connect("new-manager", self._manager)
        for name in self.counts:
            pad = self.pipeline.get_by_name(name).get_static_pad("sink")
            pad.add_probe(Gst.PadProbeType.BUFFER, self._buffer, name)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self._message)

    def _manager(self, _source, manager):
        manager.connect("new-jitterbuffer", lambda _manager, buffer, *_: self.buffers.append(buffer))

    def _buffer(self, _pad, info, name):
        if self.played[name] >= self.seconds:
            return Gst.PadProbeReturn.OK
        self.counts[name] += 1
        if name == "video" and self.counts[name] == 1:
            GLib.timeout_add_seconds(self.seconds + SLACK_SECONDS, self._too_slow)
        time = info.get_buffer().pts
        if time != Gst.CLOCK_TIME_NONE:
            first = self.first.setdefault(name, time)
            self.played[name] = (time - first) / Gst.SECOND
        if min(self.played.values()) >= self.seconds:
            self.loop.quit()
        return Gst.PadProbeReturn.OK

    def _message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            self.complaints.append(f"error: {message.parse_error().gerror.message}")
        elif message.type == Gst.MessageType.WARNING:
            self.complaints.append(f"warning: {message.parse_warning().gerror.message}")
        elif message.type == Gst.MessageType.EOS:
            self.complaints.append("the stream ended")
        else:
            return
        self.loop.quit()

    def _too_late(self):
        if not self.counts["video"]:
            self.complaints.append(f"no picture in {FIRST_PICTURE_SECONDS} s")
            self.loop.quit()

    def _too_slow(self):
        self.complaints.append(f"no {self.seconds} s were played within {SLACK_SECONDS} s more: {self.played}")
        self.loop.quit()

    def run(self):
        """Plays, and ends the session in order."""
        GLib.timeout_add_seconds(FIRST_PICTURE_SECONDS, self._too_late)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        report = {**self.counts, "tracks": len(self.buffers), "complaints": self.complaints}
        stats = [buffer.get_property("stats") for buffer in self.buffers]
        for name in TROUBLE:
            report[name] = sum(stat.get_value(name) for stat in stats)
        self.pipeline.set_state(Gst.State.NULL)
        return report


def main():
    """Plays as the command line says."""
    if len(sys.argv) != 3:
        sys.exit("usage: play.py URL SECONDS")
    Gst.init(None)
    report = Player(sys.argv[1], int(sys.argv[2])).run()
    print(json.dumps(report))
    sys.exit(1 if report["complaints"] else 0)


main()
