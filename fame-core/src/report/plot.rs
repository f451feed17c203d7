//! Curves as SVG: what a table's columns look like over P.

use plotters::prelude::*;

use crate::{Error, Result};

/// Several curves in one picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
    /// Safe as a file name: `verification_delete`.
    pub name: String,
    /// One line above it.
    pub title: String,
    /// Title of the horizontal axis.
    pub x: String,
    /// Title of the vertical axis.
    pub y: String,
    /// Name and points (x, y) of each curve, in the legend's order.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
    /// For each curve, in the same order, the 95 % interval at its points: x, low and high. May be
    /// shorter than `series`, and a curve's may be empty.
    pub intervals: Vec<Vec<[f64; 3]>>,
}

/// The most points of a curve that are marked: more would hide it.
const MARKS: usize = 12;

/// Colours that people tell apart whatever their eyes (Wong 2011, Nature Methods 8:441); black
/// first. The shape of a curve's marks tells it apart where there are more curves than colours, and
/// in print.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(150, 140, 20),
];

impl Plot {
    /// The picture, 720 × 420, as SVG: curves with marks, and their intervals as bands of the same
    /// colours. Points that are not finite are left out.
    ///
    /// # Errors
    /// When there is no finite point to draw.
    pub fn svg(&self) -> Result<String> {
        let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
        };
        let mut all: Vec<(f64, f64)> = self.series.iter().flat_map(|(_, p)| finite(p)).collect();
        if all.is_empty() {
            return Err(Error::new(
                "fame::plot::empty",
                format!("plot `{}` has no finite point.", self.name),
            ));
        }
        all.extend((0..self.series.len()).flat_map(|n| self.band(n)));
        let range = |of: fn(&(f64, f64)) -> f64, spare: f64| {
            let (low, high) = all
                .iter()
                .map(of)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let margin = if high > low { (high - low) * spare } else { 0.5 };
            low - margin..high + margin
        };
        let mut text = String::new();
        // Everything fails for the same reason, a text that cannot be written into a string: it
        // does not happen.
        let failed = |e: &dyn std::fmt::Display| Error::bug(format!("plot `{}`: {e}", self.name));
        {
            let root = SVGBackend::with_string(&mut text, (720, 420)).into_drawing_area();
            root.fill(&WHITE).map_err(|e| failed(&e))?;
            let (left, right) = root.split_horizontally(520);
            let mut chart = ChartBuilder::on(&left)
                .caption(&self.title, ("sans-serif", 16))
                .margin(10)
                .x_label_area_size(40)
                .y_label_area_size(60)
                .build_cartesian_2d(range(|p| p.0, 0.0), range(|p| p.1, 0.05))
                .map_err(|e| failed(&e))?;
            let (wide, high) = (chart.x_range(), chart.y_range());
            chart
                .configure_mesh()
                .x_label_formatter(&|x| tick(*x, wide.end - wide.start))
                .y_label_formatter(&|y| tick(*y, high.end - high.start))
                .x_desc(&self.x)
                .y_desc(&self.y)
                .light_line_style(TRANSPARENT)
                .bold_line_style(BLACK.mix(0.12))
                .label_style(("sans-serif", 12))
                .draw()
                .map_err(|e| failed(&e))?;
            for (n, (name, points)) in self.series.iter().enumerate() {
                let colour = COLOURS[n % COLOURS.len()];
                let style = ShapeStyle::from(colour).stroke_width(2);
                let points = finite(points);
                let shade = ShapeStyle::from(colour.mix(0.15)).filled();
                let band = Some(self.band(n)).filter(|outline| !outline.is_empty());
                let band = band.map(|outline| Polygon::new(outline, shade));
                chart.draw_series(band).map_err(|e| failed(&e))?;
                chart
                    .draw_series(LineSeries::new(points.iter().copied(), style))
                    .map_err(|e| failed(&e))?;
                let every = points.len().div_ceil(MARKS).max(1);
                let marks = points.iter().step_by(every).copied();
                let drawn = match n % SHAPES {
                    0 => chart.draw_series(marks.map(|p| Circle::new(p, 3, style.filled()))),
                    1 => {
                        chart.draw_series(marks.map(|p| TriangleMarker::new(p, 5, style.filled())))
                    }
                    2 => chart.draw_series(marks.map(|p| Cross::new(p, 4, style))),
                    _ => chart.draw_series(marks.map(|p| Circle::new(p, 4, style))),
                };
                drawn.map_err(|e| failed(&e))?;
                let y = 40 + 22 * n as i32;
                right
                    .draw(&PathElement::new(vec![(4, y), (30, y)], style))
                    .map_err(|e| failed(&e))?;
                let drawn = match n % SHAPES {
                    0 => right.draw(&Circle::new((17, y), 3, style.filled())),
                    1 => right.draw(&TriangleMarker::new((17, y), 5, style.filled())),
                    2 => right.draw(&Cross::new((17, y), 4, style)),
                    _ => right.draw(&Circle::new((17, y), 4, style)),
                };
                drawn.map_err(|e| failed(&e))?;
                right
                    .draw(&Text::new(name.clone(), (36, y - 7), ("sans-serif", 13).into_font()))
                    .map_err(|e| failed(&e))?;
            }
            root.present().map_err(|e| failed(&e))?;
        }
        Ok(text)
    }

    /// The outline of a curve's interval, where both of its ends are finite: nothing of fewer than
    /// two points.
    fn band(&self, n: usize) -> Vec<(f64, f64)> {
        let of = self.intervals.get(n).map_or(&[][..], Vec::as_slice);
        let known = || of.iter().filter(|ends| ends.iter().all(|end| end.is_finite()));
        if known().count() < 2 {
            return Vec::new();
        }
        let lower = known().map(|[x, low, _]| (*x, *low));
        lower.chain(known().rev().map(|[x, _, high]| (*x, *high))).collect()
    }
}

/// How many shapes marks have.
const SHAPES: usize = 4;

/// A number at an axis that spans `span`, to the digits that tell neighbours apart, without zeros
/// that say nothing and without `-0`.
fn tick(value: f64, span: f64) -> String {
    let decimals = (2.0 - span.log10()).ceil().clamp(0.0, 17.0) as usize;
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_drawn_and_named() {
        let curve = |n: usize| {
            (
                format!("method_{n}"),
                (0..=10).map(|k| (10.0 * f64::from(k), n as f64 * f64::from(k))).collect(),
            )
        };
        let plot = Plot {
            name: "p".into(),
            title: "a < b".into(),
            x: "P".into(),
            y: "y".into(),
            series: (0..10).map(curve).collect(),
            ..Plot::default()
        };
        let svg = plot.svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!((0..10).all(|n| svg.contains(&format!("method_{n}"))));
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"), "a name is no markup");
        assert_eq!(svg, plot.svg().unwrap(), "the same numbers, the same picture");
        let nothing = Plot { series: vec![("x".into(), vec![(0.0, f64::NAN)])], ..plot };
        assert_eq!(nothing.svg().unwrap_err().code, "fame::plot::empty");
    }

    #[test]
    fn curves_have_marks_and_intervals_are_bands() {
        let line = |y: f64| (0..40).map(|k| (f64::from(k), y)).collect::<Vec<_>>();
        let name = |n: usize| format!("m{n}");
        let plot = |intervals: Vec<Vec<[f64; 3]>>| {
            let series = (0..4).map(|n| (name(n), line(n as f64))).collect();
            Plot { name: "p".into(), series, intervals, ..Plot::default() }.svg().unwrap()
        };
        let bare = plot(Vec::new());
        let count = |svg: &str, what: &str| svg.matches(what).count();
        // Each fourth of forty points is marked: ten, and one in the legend, of dots and of rings.
        assert_eq!(count(&bare, "<circle"), 2 * 11);
        // Triangles; no band.
        assert_eq!(count(&bare, "<polygon"), 11);
        let ends = |low: f64, high: f64| vec![[0.0, low, high], [39.0, low, high]];
        let with = plot(vec![ends(-9.0, 1.0), Vec::new(), ends(f64::NAN, 1.0), ends(2.0, 4.0)]);
        assert_eq!(count(&with, "<polygon"), 11 + 2, "one without ends, and one that knows none");
        assert!(count(&with, "opacity=\"0.15\"") >= 2 && !bare.contains("-8"));
        assert!(with.contains("-8"), "the axis reaches as far as the bands");
    }

    #[test]
    fn ticks_say_no_more_than_they_must() {
        assert_eq!([-1e-17, 0.1 + 0.2, -0.2].map(|v| tick(v, 1.0)), ["0", "0.3", "-0.2"]);
        assert_eq!([0.0, 20.0, 100.0].map(|v| tick(v, 100.0)), ["0", "20", "100"]);
        assert_eq!(tick(0.00025, 0.001), "0.00025");
        assert_eq!(tick(120_000.0, 1e6), "120000");
    }

    #[test]
    fn a_flat_curve_has_room() {
        let plot = Plot {
            name: "p".into(),
            series: vec![("x".into(), vec![(0.0, 1.0), (1.0, 1.0)])],
            ..Plot::default()
        };
        assert!(plot.svg().unwrap().contains("polyline"));
    }
}
