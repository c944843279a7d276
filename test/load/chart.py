"""The chart of a load test, as SVG: panels one above the other, over the same seconds."""

import math

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 62, 24, 92, 44
PANEL, GAP = 104, 44
PLOT = WIDTH - LEFT - RIGHT

STYLE = """
.back { fill: #ffffff } .frame { fill: none; stroke: #8c959f } .grid { stroke: #d8dee4 } .down { fill: #d1373f; fill-opacity: .11 } .edge { stroke: #d1373f; stroke-dasharray: 3 3 }
tspan[class] { stroke: none } text { font: 12px sans-serif; fill: #1f2328 } .title { font-weight: bold } .head { font-size: 16px; font-weight: bold }
.dim { fill: #59636e } .end { text-anchor: end } .middle { text-anchor: middle }
path.line { fill: none; stroke-width: 1.6; stroke-linejoin: round } .goal { stroke-dasharray: 6 4 }
.s1 { stroke: #1f77b4; fill: #1f77b4 } .s2 { stroke: #d1373f; fill: #d1373f } .s3 { stroke: #7d55c7; fill: #7d55c7 } .s4 { stroke: #59636e; fill: #59636e }
.a1 { fill: #4c9bd6 } .a2 { fill: #f0b429 } .a3 { fill: #7d55c7 } .a4 { fill: #d1373f }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } .frame { stroke: #6e7681 } .grid { stroke: #2a313a } .down { fill: #ff6b6b; fill-opacity: .17 } .edge { stroke: #ff7b72 }
text { fill: #e6edf3 } .dim { fill: #9aa4af }
.s1 { stroke: #58a6ff; fill: #58a6ff } .s2 { stroke: #ff7b72; fill: #ff7b72 } .s3 { stroke: #b392f0; fill: #b392f0 } .s4 { stroke: #9aa4af; fill: #9aa4af }
}
"""


def draw(seconds, down, up, goal):
    """seconds: a list of report.Second; the upstream was down between two of them."""
    panels = [answers_panel, ratio_panel, reads_panel, latency_panel, calls_panel]
    bottom = TOP + len(panels) * (PANEL + GAP) - GAP
    height = bottom + BOTTOM
    chart = Chart(len(seconds))
    chart.add(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
              ' role="img" aria-label="Load test of wbcache over time">')
    chart.add(f"<style>{STYLE}</style>")
    chart.add(f'<rect class="back" width="{WIDTH}" height="{height}"/>')
    chart.text(LEFT, 26, "wbcache under load, second by second", "head")
    chart.shade(down, up, bottom)
    for number, panel in enumerate(panels):
        chart.y = TOP + number * (PANEL + GAP)
        panel(chart, seconds, goal)
        chart.frame(last=number == len(panels) - 1)
    chart.edges(down, up, bottom)
    chart.text(LEFT + PLOT / 2, height - 8, "time since the start", "dim middle")
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
    ratios = [100 * (second.hits + second.stale) / second.reads if second.reads else None for second in seconds]
    # the cold start may leave the panel
    lowest = min((ratio for ratio in ratios[len(ratios) // 10:] if ratio is not None), default=0)
    floor = min(90, math.floor(lowest / 10) * 10)
    chart.title(f"Hit ratio: fresh and stale together (axis from {floor} %)", [("hit ratio", "s1"), (f"goal {goal} %", "s4 goal")])
    chart.scale(floor, 100, [floor, (floor + 100) / 2, 100], "%")
    chart.line([goal] * len(seconds), "s4 goal")
    chart.line(ratios, "s1")


def reads_panel(chart, seconds, goal):
    reads = [second.reads for second in seconds]
    chart.title("Reads a second", [("reads", "s1")])
    chart.scale(0, *round_scale(max(reads)), "")
    chart.line(reads, "s1")


def latency_panel(chart, seconds, goal):
    chart.title("Duration of reads, as clients see it (logarithmic)", [("99th percentile", "s2"), ("median", "s1")])
    lines = [([logarithm(second.durations, share) for second in seconds], css) for share, css in ((0.99, "s2"), (0.5, "s1"))]
    top = math.ceil(max((value for values, _ in lines for value in values if value is not None), default=1))
    labels = {-1: "0.1 ms", 0: "1 ms", 1: "10 ms", 2: "100 ms", 3: "1 s", 4: "10 s", 5: "100 s"}
    ticks = list(range(-1, max(1, top) + 1))
    chart.scale(-1.6, max(1, top), ticks, "", labels=[labels[tick] for tick in ticks])
    for values, css in lines:
        chart.line(values, css)


def calls_panel(chart, seconds, goal):
    calls, errors = [second.calls for second in seconds], [second.errors for second in seconds]
    chart.title("Upstream calls and errors a second", [("upstream calls", "s3"), ("errors that clients see", "s2")])
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
    power = 10 ** math.floor(math.log10(max(most, 10)))
    top = next(power * n for n in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if power * n >= most)
    return top, [0, top / 2, top]


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
        return self.y + PANEL * (1 - share)

    def title(self, text, legend):
        self.text(LEFT, self.y - 8, text, "title")
        # Marks are characters, so that the viewer places them, whose fonts nobody knows here.
        marks = {"a": "&#9632;", "s": "&#9473;&#9473;"}
        items = [f'<tspan class="{css}">{"&#9477;&#9477;" if "goal" in css else marks[css[0]]}</tspan>&#160;{name}' for name, css in legend]
        self.text(WIDTH - RIGHT, self.y - 8, "&#160;&#160;&#160; ".join(items), "dim end")

    def scale(self, low, high, ticks, unit, labels=None):
        self.low, self.high = low, high
        self.add(f'<clipPath id="clip{self.y}"><rect x="{LEFT}" y="{self.y}" width="{PLOT}" height="{PANEL}"/></clipPath>')
        for n, tick in enumerate(ticks):
            y = self.place(tick)
            self.add(f'<path d="M{LEFT} {y:.1f}h{PLOT}" class="grid"/>')
            self.text(LEFT - 6, y + 4, labels[n] if labels else f"{tick:,.0f}{' ' + unit if unit else ''}", "dim end")

    def shade(self, down, up, bottom):
        x, top = self.at(down), TOP - 48
        self.add(f'<rect x="{x:.1f}" y="{top}" width="{self.at(up) - x:.1f}" height="{bottom - top}" class="down"/>')
        self.text(self.at((down + up) / 2), top + 16, "upstream down", "middle")

    def edges(self, down, up, bottom):
        for at in (down, up):
            self.add(f'<path d="M{self.at(at):.1f} {TOP - 48}V{bottom}" class="edge"/>')

    def line(self, values, css):
        """A value is drawn in the middle of its second; a line breaks where there is None."""
        path, pen = [], "M"
        for second, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{self.at(second + 0.5):.1f} {self.place(value):.1f}")
            pen = "L"
        self.add(f'<path d="{"".join(path)}" class="line {css}" clip-path="url(#clip{self.y})"/>')

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
