//! The same results as a picture: a row for each stage, with its throughput, its
//! latency by percentile and its slowest update.

use std::error::Error;
use std::ops::Range;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::drive::Outcome;
use crate::guard::Lock;
use crate::report::{slowest_update, value_at};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T = ()> = Result<T, Box<dyn Error>>;
type Results = [(Lock, Outcome)];

const SIZE: (u32, u32) = (1800, 860);
/// Percentiles are spread by their number of nines: 1 is p90, 3 is p99.9.
const NINES: Range<f64> = 0.0..4.0;

/// Returns the SVG text; `stages` are pairs of a title and its results.
pub(crate) fn svg(heading: &str, stages: &[(&str, &Results)]) -> Drawn<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let body = root.margin(10, 10, 10, 20).titled(heading, ("sans-serif", 15))?;
    for (row, (title, results)) in body.split_evenly((stages.len(), 1)).iter().zip(stages) {
        let row = row.titled(title, ("sans-serif", 21))?;
        let panels = row.split_evenly((1, 3));
        throughput(&panels[0], results)?;
        percentiles(&panels[1], results)?;
        slowest_updates(&panels[2], results)?;
    }
    root.present()?;
    // Ending the drawing is what completes the text.
    drop((body, root));
    Ok(text)
}

fn throughput(area: &Area<'_>, results: &Results) -> Drawn {
    let most = results.iter().map(|(_, outcome)| outcome.per_second()).fold(1.0, f64::max);
    let (unit, name) = if most < 1e6 { (1e3, "thousands") } else { (1e6, "millions") };
    let title = format!("throughput, {name} a second (more is better)");
    let number = |rate: &f64| format!("{rate:.1}");
    let values = results.iter().map(|(_, outcome)| outcome.per_second() / unit);
    let values: Vec<_> = values.map(|rate| (rate, number(&rate))).collect();
    bars(area, &title, results, &values, 0.0..most / unit * 1.15, number)
}

fn slowest_updates(area: &Area<'_>, results: &Results) -> Drawn {
    let exponents: Vec<_> = results.iter().map(|(_, o)| exponent(o.slowest_update)).collect();
    let labels = results.iter().map(|(_, outcome)| slowest_update(outcome));
    let values: Vec<_> = exponents.iter().copied().zip(labels).collect();
    let title = "slowest update, log scale (less is better)";
    bars(area, title, results, &values, decades(&exponents), decade_name)
}

/// One bar for each lock, with a label above.
fn bars(
    area: &Area<'_>,
    title: &str,
    results: &Results,
    values: &[(f64, String)],
    range: Range<f64>,
    axis_name: impl Fn(&f64) -> String,
) -> Drawn {
    let bottom = range.start;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(58)
        .build_cartesian_2d((0..results.len() - 1).into_segmented(), range)?;
    let lock_name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) => results.get(*at).map_or("", |(lock, _)| lock.name()).into(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(results.len())
        .x_label_formatter(&lock_name)
        .y_labels(6)
        .y_label_formatter(&axis_name)
        .label_style(("sans-serif", 13))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (at, ((lock, _), (value, label))) in results.iter().zip(values).enumerate() {
        let corners = [(SegmentValue::Exact(at), bottom), (SegmentValue::Exact(at + 1), *value)];
        let mut bar = Rectangle::new(corners, color(*lock).filled());
        bar.set_margin(0, 0, 14, 14);
        let style = ("sans-serif", 13).into_font().into_text_style(area);
        let above = style.pos(Pos::new(HPos::Center, VPos::Bottom));
        let label = EmptyElement::at((SegmentValue::CenterOf(at), *value))
            + Text::new(label.clone(), (0, -3), above);
        chart.draw_series([bar])?;
        chart.draw_series([label])?;
    }
    Ok(())
}

fn percentiles(area: &Area<'_>, results: &Results) -> Drawn {
    let curve = |outcome: &Outcome| {
        let latency = &outcome.tally.latency;
        // Beyond this there are not ten samples, and the curve would be chance.
        let most = (latency.len() as f64 / 10.0).log10().clamp(NINES.start, NINES.end);
        let point = |nines: f64| (nines, exponent(value_at(latency, 1.0 - 10f64.powf(-nines))));
        (0..=80).map(|step| point(most * f64::from(step) / 80.0)).collect::<Vec<_>>()
    };
    let curves: Vec<_> = results.iter().map(|(lock, outcome)| (*lock, curve(outcome))).collect();
    let heights: Vec<_> = curves.iter().flat_map(|(_, curve)| curve).map(|point| point.1).collect();
    let mut chart = ChartBuilder::on(area)
        .caption("latency by percentile, log scale (less is better)", ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(58)
        .build_cartesian_2d(NINES, decades(&heights))?;
    chart
        .configure_mesh()
        .x_labels(5)
        .x_label_formatter(&|nines| format!("{}%", 100.0 - 10f64.powf(2.0 - nines)))
        .y_labels(6)
        .y_label_formatter(&decade_name)
        .label_style(("sans-serif", 13))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (lock, curve) in curves {
        let line = color(lock).stroke_width(2);
        chart
            .draw_series(LineSeries::new(curve, line))?
            .label(lock.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], line));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 13))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

/// Log scales are drawn as plain ones over the power of ten, in nanoseconds.
fn exponent(time: Duration) -> f64 {
    (time.as_nanos().max(1) as f64).log10()
}

/// The whole decades around `exponents`, with some room on either side.
fn decades(exponents: &[f64]) -> Range<f64> {
    let low = exponents.iter().copied().fold(f64::INFINITY, f64::min);
    let high = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (low - 0.1).floor().max(0.0)..(high + 0.1).ceil()
}

fn decade_name(exponent: &f64) -> String {
    let whole = exponent.round();
    if (exponent - whole).abs() > 1e-6 {
        return String::new();
    }
    let units = ["ns", "µs", "ms", "s"];
    let unit = (whole as usize / 3).min(units.len() - 1);
    format!("{} {}", 10f64.powi(whole as i32 - 3 * unit as i32), units[unit])
}

/// Okabe and Ito's colors, which color-blind readers can tell apart.
fn color(lock: Lock) -> RGBColor {
    match lock {
        Lock::Rcu => RGBColor(0, 114, 178),
        Lock::StillpointRwlock => RGBColor(86, 180, 233),
        Lock::Std => RGBColor(213, 94, 0),
        Lock::ParkingLot => RGBColor(0, 158, 115),
        Lock::ArcSwap => RGBColor(204, 121, 167),
    }
}
