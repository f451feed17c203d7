//! Small curves as SVG: a loss along its walk, a measurement along its axis.

use maud::{Markup, html};

use super::show::number;

/// Width and height of a curve's picture, in its own units.
const SIZE: (f64, f64) = (320.0, 130.0);

/// Room at the left, top, right and bottom, for the numbers.
const ROOM: [f64; 4] = [50.0, 10.0, 12.0, 28.0];

/// Lines through points (x, y), each with a name, over one axis. Nothing where fewer than two
/// points are finite.
pub(super) fn curve(title: &str, x: &str, lines: &[(String, Vec<(f64, f64)>)]) -> Markup {
    let finite = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
    let all: Vec<(f64, f64)> = lines.iter().flat_map(|(_, p)| p).filter(finite).copied().collect();
    if all.len() < 2 {
        return html! {};
    }
    let (across, up) = (Axis::of(all.iter().map(|p| p.0)), Axis::of(all.iter().map(|p| p.1)));
    let [left, top, right, bottom] = ROOM;
    let (width, height) = SIZE;
    let (end, base) = (width - right, height - bottom);
    let place = |(x, y): &(f64, f64)| {
        let (x, y) = (across.part(*x), 1.0 - up.part(*y));
        format!("{:.1},{:.1}", left + x * (end - left), top + y * (base - top))
    };
    let path = |points: &[(f64, f64)]| {
        points.iter().filter(finite).map(place).collect::<Vec<_>>().join(" ")
    };
    html! {
        figure.curve {
            svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(title) {
                path.axis d=(format!("M{left} {top} V{base} H{end}")) {}
                @for (n, (name, points)) in lines.iter().enumerate() {
                    polyline class=(format!("line n{}", n % 6)) points=(path(points)) { title { (name) } }
                }
                text x=(left - 6.0) y=(top + 8.0) text-anchor="end" { (number(up.high)) }
                text x=(left - 6.0) y=(base) text-anchor="end" { (number(up.low)) }
                text x=(left) y=(height - 12.0) { (number(across.low)) }
                text x=(end) y=(height - 12.0) text-anchor="end" { (number(across.high)) }
                text x=(f64::midpoint(left, end)) y=(height - 3.0) text-anchor="middle" { (x) }
            }
            figcaption {
                (title)
                @if lines.len() > 1 {
                    @for (n, (name, _)) in lines.iter().enumerate() {
                        " " span class=(format!("key n{}", n % 6)) { (name) }
                    }
                }
            }
        }
    }
}

/// The range of an axis.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        Self { low, high }
    }

    /// Where `value` lies between the ends, 0 to 1; the middle where there is no between.
    fn part(&self, value: f64) -> f64 {
        let span = self.high - self.low;
        if span > 0.0 { (value - self.low) / span } else { 0.5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_runs_from_corner_to_corner_and_escapes_its_names() {
        let line = |name: &str| (name.to_owned(), vec![(0.0, 1.0), (10.0, 0.5), (20.0, f64::NAN)]);
        let svg = curve("<loss>", "steps", &[line("a"), line("<b>")]).into_string();
        assert!(svg.contains(r#"points="50.0,10.0 308.0,102.0""#), "{svg}");
        assert!(svg.contains("&lt;loss&gt;") && svg.contains("&lt;b&gt;") && !svg.contains("<b>"));
        assert!(curve("one", "x", &[("a".into(), vec![(0.0, 1.0)])]).into_string().is_empty());
    }

    #[test]
    fn a_flat_line_lies_in_the_middle() {
        let svg = curve("flat", "x", &[("a".into(), vec![(0.0, 1.0), (1.0, 1.0)])]).into_string();
        assert!(svg.contains("50.0,56.0 308.0,56.0"), "{svg}");
    }
}
