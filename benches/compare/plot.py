"""Plots as SVG, written by hand: lines of (x, median, lowest, highest), readable on light and on dark pages."""

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 52
# One hue for each server, apart also for colour-blind eyes; the shape of the points says it once more.
COLOURS = {"relayd": ("#0b62c4", "#6cb2ff"), "coturn": ("#c2410c", "#ff9d5c")}
OTHER_COLOUR = ("#555555", "#bbbbbb")
STYLE = """
svg { background: #ffffff; }
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 14px; }
.grid { stroke: #d0d7de; stroke-width: 1; }
"""
DARK = """
svg { background: #0d1117; }
text { fill: #e6edf3; }
.grid { stroke: #30363d; }
"""


def svg(title, x_title, y_title, lines):
    """`lines`: {server: [(x, median, lowest, highest)]}. x is spread evenly, labelled with what it is; y starts at 0."""
    xs = [x for points in lines.values() for x, *_ in points]
    xs = sorted(set(xs), key=lambda x: (isinstance(x, str), x))
    top = nice(max(high for points in lines.values() for *_, high in points))
    place = Place(xs, top)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">', f"<style>{style(lines)}</style>"]
    out.append(f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>')
    out += axes(place, x_title, y_title)
    for index, (name, points) in enumerate(lines.items()):
        out += drawn(name, sorted(points, key=lambda point: xs.index(point[0])), place, index)
    return "\n".join(out) + "\n</svg>\n"


class Place:
    """Where a value lies on the picture."""

    def __init__(self, xs, top):
        self.xs, self.top = xs, top

    def x(self, value):
        share = (self.xs.index(value) + 0.5) / len(self.xs)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value):
        return round(HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM), 1)


def axes(place, x_title, y_title):
    out = []
    for step in range(6):
        value = place.top * step / 5
        y = place.y(value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for x in place.xs:
        out.append(f'<text x="{place.x(x)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(shown(x))}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(y_title)}</text>')
    return out


def drawn(name, points, place, index):
    kind = css_class(name)
    path = " ".join(f"{place.x(x)},{place.y(median)}" for x, median, _, _ in points)
    out = [f'<polyline class="{kind} line" points="{path}"/>']
    for x, median, low, high in points:
        out.append(f'<line class="{kind} line" x1="{place.x(x)}" x2="{place.x(x)}" y1="{place.y(low)}" y2="{place.y(high)}"/>')
        out.append(point(kind, place.x(x), place.y(median), index, f"{name}, {shown(x)}: {median:.3g} ({low:.3g}-{high:.3g})"))
    x = WIDTH - RIGHT - 90 * (index + 1)
    out.append(point(kind, x, 16, index, name))
    out.append(f'<text x="{x + 10}" y="20">{escape(name)}</text>')
    return out


def point(kind, x, y, index, said):
    title = f"<title>{escape(said)}</title>"
    if index % 2:
        return f'<rect class="{kind}" x="{x - 4}" y="{y - 4}" width="8" height="8">{title}</rect>'
    return f'<circle class="{kind}" cx="{x}" cy="{y}" r="4.5">{title}</circle>'


def style(names):
    def colours(which):
        rules = []
        for name in names:
            colour = COLOURS.get(name, OTHER_COLOUR)[which]
            rules.append(f".{css_class(name)} {{ fill: {colour}; stroke: {colour}; }}")
        return "\n".join(rules)

    last = ".line { fill: none; stroke-width: 2; }"
    return f"{STYLE}{colours(0)}\n{last}\n@media (prefers-color-scheme: dark) {{{DARK}{colours(1)}\n{last}\n}}\n"


def css_class(name):
    return "s-" + "".join(c if c.isalnum() else "-" for c in name)


def shown(x):
    if isinstance(x, str):
        return x
    return f"{x // 1000}k" if x >= 5000 and x % 1000 == 0 else str(x)


def nice(value):
    """The next round number, for the end of an axis."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(power * step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * step >= value)


def escape(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
