//! Resident memory over retirements, as a picture.

use crate::memory::Sample;
use crate::schemes::{CROSSBEAM, OURS, SEIZE};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (900, 560);

pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) fn draw(file: &Path, curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    let mib = |sample: &Sample| sample.bytes as f64 / f64::from(1 << 20);
    let millions = |sample: &Sample| sample.retired as f64 / 1e6;
    let samples = || curves.iter().flat_map(|curve| &curve.samples);
    let low = samples().map(mib).fold(f64::INFINITY, f64::min).log10().floor();
    let high = samples().map(mib).fold(1.0, f64::max).log10().ceil();
    let right = samples().map(millions).fold(0.0, f64::max);
    if right <= 0.0 {
        return Err("there is nothing to draw".into());
    }

    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("resident memory while one thread retires and one reads", ("sans-serif", 18))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right, (10f64.powf(low)..10f64.powf(high)).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("objects retired, millions")
        .y_desc("MiB, log scale")
        .y_label_formatter(&|mib| format!("{mib}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    for curve in curves {
        let line = color(curve.name).stroke_width(2);
        let points = curve.samples.iter().map(|sample| (millions(sample), mib(sample)));
        chart
            .draw_series(LineSeries::new(points, line))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], line));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 13))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Okabe and Ito's colors, which color-blind readers can tell apart.
fn color(name: &str) -> RGBColor {
    match name {
        OURS => RGBColor(0, 114, 178),
        CROSSBEAM => RGBColor(213, 94, 0),
        SEIZE => RGBColor(0, 158, 115),
        _ => RGBColor(204, 121, 167),
    }
}
