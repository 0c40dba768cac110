//! Throughput over the number of threads, drawn.

use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// One lock: its name, and its throughput by the number of threads.
pub type Curve = (String, Vec<(usize, f64)>);

/// Writes a chart.
///
/// # Errors
///
/// If the file cannot be written.
pub fn draw(path: &Path, caption: &str, curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let threads = points().map(|point| point.0).max().unwrap_or(1);
    let most = points().map(|point| point.1).fold(0.0, f64::max);
    let area = SVGBackend::new(path, (900, 540)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((1..threads).log_scale().base(2.0), 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("threads")
        .y_desc("critical sections in a microsecond, simulated")
        .draw()?;
    for (index, (name, points)) in curves.iter().enumerate() {
        let color = Palette99::pick(index).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    area.present()?;
    Ok(())
}
