"""`out/demo/report.html`: what a stranger found before and after, and a frame of the video that went on."""

import html
from pathlib import Path

from .floods import SECONDS, Row
from .knock import Scan

_STYLE = """
:root { color-scheme: light dark; --bad: #b3261e; --good: #1b6e3c; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); font-size: .85rem; }
img { max-width: 100%; height: auto; }
"""


def _ports(scan: Scan) -> str:
    if not scan.tcp:
        return f'<span class="good">none</span> of {scan.tcp_scanned}'
    listed = "<br>".join(f"{port} {html.escape(name)}" for port, name in sorted(scan.tcp.items()))
    return f'<span class="bad">{listed}</span>'


def _answers(scan: Scan) -> str:
    return f'<span class="{"bad" if scan.udp_answered else "good"}">{scan.udp_answered}</span> of {scan.udp_scanned}'


def _logins(opened: list[tuple[str, str]], tried: int, why: str) -> str:
    if opened:
        return '<span class="bad">' + "<br>".join(html.escape(f"{user} / {word}") for user, word in opened) + "</span>"
    return f'<span class="good">none</span> of {tried} tried ({html.escape(why)})'


def _packets(count: int, wanted: bool) -> str:
    return f'<span class="{"good" if wanted else "bad"}">{count}</span>'


def _left(row: Row, wanted: bool) -> str:
    return _packets(row.packets, wanted) + (f" ({html.escape(row.off)})" if row.off else "")


def floods(found: dict[str, list[Row]], unstopped: list[tuple[str, int, int]], filters: str) -> str:
    """Packets that left the camera, by flood and sender, before and after; `filters` says what its kernel can do."""
    before, after = list(found.values())[:2]
    rows = "".join(
        f"<tr><th>{html.escape(old.what)}</th><td>{html.escape(old.sender)}</td><td>{_left(old, False)}</td>"
        f"<td>{_left(new, not new.packets)}</td></tr>"
        for old in before for new in after if (new.what, new.sender) == (old.what, old.sender))
    rows += "".join(f"<tr><th>{html.escape(what)}</th><td>root</td><td>{_packets(old, False)}</td><td>{_packets(new, False)}</td></tr>"
                    for what, old, new in unstopped)
    whens = "".join(f"<th>{html.escape(when)}</th>" for when in list(found)[:2])
    note = f"Some programs at once for {SECONDS} seconds each; counted on the cable, outside the camera. {filters}"
    if unstopped:
        note += (" Whoever has root can send past any filter or remove it: of the rows with root at the end nothing is stopped, "
                 "and nothing on the camera could.")
    if not any("IPv6" in row.what for row in before):
        note += " This kernel has no IPv6."
    return (f"<h2>What floods from the camera reach its network, in packets</h2>\n"
            f"<table><tr><th></th><th>sent by</th>{whens}</tr>{rows}</table>\n<p>{note}</p>\n")


def write(path: Path, camera: str, scans: dict[str, Scan], logins: dict[str, tuple[dict, int]], said: str, facts: list[str],
          more: str = "") -> None:
    """`scans` and `logins` by when they were made; a login entry has the service's result and how many pairs were tried."""
    whens = list(scans)
    rows = [
        ("TCP ports that are open", [_ports(scans[when]) for when in whens]),
        ("UDP ports that answer, if only that nobody is there", [_answers(scans[when]) for when in whens]),
    ]
    for service in ("telnet", "ssh"):
        cells = []
        for when in whens:
            result, tried = logins.get(when, ({}, 0))
            if service in result:
                opened, why = result[service]
                cells.append(_logins(opened, tried, why))
            else:
                cells.append("not tried")
        rows.append((f"known passwords that open {service}", cells))
    head = "".join(f"<th>{html.escape(when)}</th>" for when in whens)
    body = "".join(f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, cells in rows)
    path.write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<title>A camera, before and after Lenscap</title><style>{_STYLE}</style>\n"
        f"<h1>A camera, before and after Lenscap</h1>\n<p>{html.escape(camera)}</p>\n"
        f"<h2>What a host on its network finds</h2>\n<table><tr><th></th>{head}</tr>{body}</table>\n"
        f"{more}"
        f"<h2>What the camera says of itself</h2>\n<pre>{html.escape(said)}</pre>\n"
        f"<h2>And the video goes on, through the one connection that the camera makes</h2>\n"
        f'<p><img src="frame.png" alt="A frame of the live video"></p>\n'
        f"<ul>{''.join(f'<li>{html.escape(fact)}</li>' for fact in facts)}</ul>\n</html>\n", encoding="utf-8")
