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
}

/// Colours that people tell apart whatever their eyes (Wong 2011, Nature Methods 8:441); black
/// first. A curve beyond them is drawn in the same colours with marks.
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
    /// The picture, 720 × 420, as SVG. Points that are not finite are left out.
    ///
    /// # Errors
    /// When there is no finite point to draw.
    pub fn svg(&self) -> Result<String> {
        let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
        };
        let all: Vec<(f64, f64)> = self.series.iter().flat_map(|(_, p)| finite(p)).collect();
        if all.is_empty() {
            return Err(Error::new(
                "fame::plot::empty",
                format!("plot `{}` has no finite point.", self.name),
            ));
        }
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
                let style = ShapeStyle::from(COLOURS[n % COLOURS.len()]).stroke_width(2);
                let points = finite(points);
                chart
                    .draw_series(LineSeries::new(points.iter().copied(), style))
                    .map_err(|e| failed(&e))?;
                let marked = n >= COLOURS.len();
                if marked {
                    let marks = points.iter().map(|p| Circle::new(*p, 3, style.filled()));
                    chart.draw_series(marks).map_err(|e| failed(&e))?;
                }
                let y = 40 + 22 * n as i32;
                right
                    .draw(&PathElement::new(vec![(4, y), (30, y)], style))
                    .map_err(|e| failed(&e))?;
                if marked {
                    right.draw(&Circle::new((17, y), 3, style.filled())).map_err(|e| failed(&e))?;
                }
                right
                    .draw(&Text::new(name.clone(), (36, y - 7), ("sans-serif", 13).into_font()))
                    .map_err(|e| failed(&e))?;
            }
            root.present().map_err(|e| failed(&e))?;
        }
        Ok(text)
    }
}

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
