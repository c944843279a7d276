"""The chart of a load test, as SVG: panels one above the other, over the same seconds."""

import math

WIDTH, LEFT, RIGHT, TOP = 960, 62, 20, 58
PANEL, GAP = 104, 44
PLOT = WIDTH - LEFT - RIGHT

STYLE = """
.back { fill: #ffffff } .frame { fill: none; stroke: #8c959f } .grid { stroke: #d8dee4 } .down { fill: #d1373f; fill-opacity: .13 }
text { font: 12px sans-serif; fill: #1f2328 } .title { font-weight: bold } .head { font-size: 16px; font-weight: bold }
.dim { fill: #59636e } .end { text-anchor: end } .middle { text-anchor: middle }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round } .goal { stroke-dasharray: 6 4 }
.s1 { stroke: #1f77b4 } .s2 { stroke: #d1373f } .s3 { stroke: #7d55c7 } .s4 { stroke: #59636e }
.a1 { fill: #4c9bd6 } .a2 { fill: #f0b429 } .a3 { fill: #7d55c7 } .a4 { fill: #d1373f }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } .frame { stroke: #6e7681 } .grid { stroke: #2a313a } .down { fill: #ff6b6b; fill-opacity: .2 }
text { fill: #e6edf3 } .dim { fill: #9aa4af }
.s1 { stroke: #58a6ff } .s2 { stroke: #ff7b72 } .s3 { stroke: #b392f0 } .s4 { stroke: #9aa4af }
}
"""


def draw(seconds, down, up, goal):
    """seconds: a list of report.Second; the upstream was down between two of them."""
    panels = [answers_panel, ratio_panel, reads_panel, latency_panel, calls_panel]
    height = TOP + len(panels) * (PANEL + GAP)
    chart = Chart(len(seconds))
    chart.add(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
              ' role="img" aria-label="Load test of wbcache over time">')
    chart.add(f"<style>{STYLE}</style>")
    chart.add(f'<rect class="back" width="{WIDTH}" height="{height}"/>')
    chart.text(LEFT, 26, "wbcache under load, second by second", "head")
    for number, panel in enumerate(panels):
        chart.y = TOP + number * (PANEL + GAP)
        chart.shade(down, up, "upstream down" if number == 0 else None)
        panel(chart, seconds, goal)
        chart.frame(last=number == len(panels) - 1)
    chart.add("</svg>")
    return "\n".join(chart.out) + "\n"


def answers_panel(chart, seconds, goal):
    chart.title("Reads by how they were answered", [("fresh", "a1"), ("stale", "a2"), ("waited for a fetch", "a3"), ("error", "a4")])
    chart.scale(0, 100, [0, 25, 50, 75, 100], "%")
    parts = [[100 * getattr(second, name) / (second.reads or 1) for second in seconds]
             for name in ("hits", "stale", "waited", "errors")]
    below = [0] * len(seconds)
    for css, part in zip(("a1", "a2", "a3", "a4"), parts):
        above = [a + b for a, b in zip(below, part)]
        chart.area(below, above, css)
        below = above


def ratio_panel(chart, seconds, goal):
    chart.title("Hit ratio: fresh or stale (axis from 90 %)", [("hit ratio", "s1"), (f"goal {goal} %", "s4 goal")])
    chart.scale(90, 100, [90, 95, 100], "%")
    chart.line([goal] * len(seconds), "s4 goal")
    chart.line([100 * (second.hits + second.stale) / second.reads if second.reads else None for second in seconds], "s1")


def reads_panel(chart, seconds, goal):
    reads = [second.reads for second in seconds]
    chart.title("Reads a second", [("reads", "s1")])
    chart.scale(0, *round_scale(max(reads)), "")
    chart.line(reads, "s1")


def latency_panel(chart, seconds, goal):
    chart.title("Duration of reads, as clients see it (logarithmic)", [("99th percentile", "s2"), ("median", "s1")])
    chart.scale(-1.5, 4, [-1, 0, 1, 2, 3, 4], "", labels=["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"])
    for share, css in ((0.99, "s2"), (0.5, "s1")):
        chart.line([logarithm(second.durations, share) for second in seconds], css)


def calls_panel(chart, seconds, goal):
    calls, errors = [second.calls for second in seconds], [second.errors for second in seconds]
    chart.title("A second", [("upstream calls", "s3"), ("errors that clients see", "s2")])
    chart.scale(0, *round_scale(max(calls + errors)), "")
    chart.line(calls, "s3")
    chart.line(errors, "s2")


def logarithm(durations, share):
    """Of milliseconds; None where nothing was read."""
    if not durations:
        return None
    return math.log10(max(1, durations[min(len(durations) - 1, int(len(durations) * share))]) / 1000)


def round_scale(most):
    """(end of the axis, its ticks)"""
    step = 10 ** math.floor(math.log10(max(most, 1)))
    step = next(s for s in (step / 4, step / 2, step, step * 2.5) if s * 4 >= most)
    return step * 4, [step * n for n in range(0, 5, 2)]


class Chart:
    """The panel that is drawn now begins at y; values are placed by the scale that was set last."""

    def __init__(self, length):
        self.length = length
        self.out = []
        self.y = TOP
        self.low, self.high = 0, 1

    def add(self, text):
        self.out.append(text)

    def text(self, x, y, text, css="", more=""):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{css}"{more}>{text}</text>')

    def at(self, second):
        return LEFT + PLOT * second / self.length

    def place(self, value):
        share = (value - self.low) / (self.high - self.low)
        return self.y + PANEL * (1 - min(1, max(0, share)))

    def title(self, text, legend):
        self.text(LEFT, self.y - 8, text, "title")
        x = WIDTH - RIGHT
        for name, css in reversed(legend):
            x -= 6.6 * len(name)
            self.text(x, self.y - 8, name, "dim")
            x -= 22
            if css[0] == "a":
                self.add(f'<rect x="{x + 4}" y="{self.y - 18}" width="12" height="12" class="{css}"/>')
            else:
                self.add(f'<path d="M{x:.1f} {self.y - 12}h16" class="line {css}"/>')
            x -= 14

    def scale(self, low, high, ticks, unit, labels=None):
        self.low, self.high = low, high
        for n, tick in enumerate(ticks):
            y = self.place(tick)
            self.add(f'<path d="M{LEFT} {y:.1f}h{PLOT}" class="grid"/>')
            self.text(LEFT - 6, y + 4, labels[n] if labels else f"{tick:,.0f}{' ' + unit if unit else ''}", "dim end")

    def shade(self, down, up, label):
        self.add(f'<rect x="{self.at(down):.1f}" y="{self.y}" width="{self.at(up) - self.at(down):.1f}" height="{PANEL}" class="down"/>')
        if label:
            self.text(self.at((down + up) / 2), self.y - 28, label, "dim middle")

    def line(self, values, css):
        """A value is drawn in the middle of its second; a line breaks where there is None."""
        path, pen = [], "M"
        for second, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{self.at(second + 0.5):.1f} {self.place(value):.1f}")
            pen = "L"
        self.add(f'<path d="{"".join(path)}" class="line {css}"/>')

    def area(self, below, above, css):
        points = [(self.at(n + 0.5), self.place(value)) for n, value in enumerate(above)]
        points += [(self.at(n + 0.5), self.place(below[n])) for n in reversed(range(len(below)))]
        self.add('<path d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + f'Z" class="{css}"/>')

    def frame(self, last):
        self.add(f'<rect x="{LEFT}" y="{self.y}" width="{PLOT}" height="{PANEL}" class="frame"/>')
        step = next(step for step in (5, 10, 15, 30, 60, 120, 300, 600, 10 ** 6) if self.length / step <= 12)
        for second in range(0, self.length + 1, step):
            x = self.at(second)
            self.add(f'<path d="M{x:.1f} {self.y + PANEL}v4" class="frame"/>')
            if last:
                self.text(x, self.y + PANEL + 17, f"{second} s", "dim middle")
