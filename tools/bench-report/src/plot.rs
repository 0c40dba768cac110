//! A quantity as a picture: contestants side by side, or their curves over the settings.

use crate::book::group;
use crate::data::{Cell, Role, Table};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 480);
const FONT: (&str, u32) = ("sans-serif", 13);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// As SVG. The same table gives the same picture.
pub(crate) fn svg(title: &str, table: &Table) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|why| anyhow!("{why}"))?;
        let many = group(table.cells.iter(), |cell| &cell.setting).len() > 1;
        let drawn = if many { curves(&area, title, table) } else { bars(&area, title, table) };
        drawn.map_err(|why| anyhow!("{title}: {why}"))?;
        area.present().map_err(|why| anyhow!("{why}"))?;
    }
    Ok(text)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// From a power of ten to one, or from zero where all are close to each other.
fn extent(table: &Table) -> (f64, f64) {
    let values = || table.cells.iter().flat_map(|cell| [cell.value.low, cell.value.high]);
    let high = values().fold(f64::MIN_POSITIVE, f64::max);
    let low = values().filter(|&value| value > 0.0).fold(high, f64::min);
    (10_f64.powf(low.log10().floor()), high * 1.3)
}

/// Okabe and Ito's colors, which color-blind readers can tell apart; ours come first.
fn color(at: usize) -> RGBColor {
    const COLORS: [(u8, u8, u8); 8] = [
        (0, 114, 178),
        (213, 94, 0),
        (0, 158, 115),
        (204, 121, 167),
        (230, 159, 0),
        (86, 180, 233),
        (90, 90, 90),
        (160, 130, 0),
    ];
    let (r, g, b) = COLORS[at % COLORS.len()];
    RGBColor(r, g, b)
}

fn bars(area: &Area<'_>, title: &str, table: &Table) -> Drawn {
    let (low, high) = extent(table);
    let count = table.cells.len();
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(230)
        .build_cartesian_2d((low..high).log_scale(), (0..count as i32 - 1).into_segmented())?;
    // The first on top.
    let cell_at = |row: i32| table.cells.get(count - 1 - usize::try_from(row).unwrap_or(0));
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc(format!("{}, log scale", table.metric))
        .y_labels(count)
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) => cell_at(*row).map_or(String::new(), |c| c.name.clone()),
            _ => String::new(),
        })
        .label_style(FONT)
        .draw()?;
    for (at, cell) in table.cells.iter().enumerate() {
        let row = (count - 1 - at) as i32;
        let color = if cell.role == Role::Ours { color(0) } else { color(6) };
        let (from, to) = (SegmentValue::Exact(row), SegmentValue::Exact(row + 1));
        let mut bar =
            Rectangle::new([(low, from), (cell.value.median, to)], color.mix(0.7).filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar])?;
        let middle = SegmentValue::CenterOf(row);
        let ends = [(cell.value.low.max(low), middle.clone()), (cell.value.high, middle)];
        chart.draw_series([PathElement::new(ends, BLACK.stroke_width(2))])?;
    }
    Ok(())
}

fn curves(area: &Area<'_>, title: &str, table: &Table) -> Drawn {
    let (low, high) = extent(table);
    let settings: Vec<&str> =
        group(table.cells.iter(), |cell| &cell.setting).iter().map(|of| &*of[0].setting).collect();
    let at = |cell: &Cell| settings.iter().position(|s| *s == cell.setting).unwrap_or(0) as f64;
    let right = settings.len() as f64 - 1.0;
    let (plot, legend) = area.split_horizontally(SIZE.0 - 230);
    let mut chart = ChartBuilder::on(&plot)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(-0.4..right + 0.4, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(settings.len() * 2)
        .x_label_formatter(&|x| {
            let whole = (x - x.round()).abs() < 0.01 && x.round() >= 0.0;
            let name = settings.get(x.round() as usize).filter(|_| whole);
            name.map_or(String::new(), |name| (*name).to_owned())
        })
        .y_desc(format!("{}, log scale", table.metric))
        .label_style(FONT)
        .draw()?;
    let mut all = group(table.cells.iter(), |cell| &cell.name);
    all.sort_by_key(|of| of[0].role != Role::Ours);
    for (index, of) in all.into_iter().enumerate() {
        let width = if of[0].role == Role::Ours { 3 } else { 1 };
        let line = color(index).stroke_width(width);
        let points = of.iter().map(|cell| (at(cell), cell.value.median.max(low)));
        chart.draw_series(LineSeries::new(points, line).point_size(3))?;
        let whiskers = of.iter().map(|cell| {
            let [from, to] = [cell.value.low, cell.value.high].map(|y| (at(cell), y.max(low)));
            PathElement::new([from, to], color(index).stroke_width(1))
        });
        chart.draw_series(whiskers)?;
        let y = 50 + 20 * index as i32;
        legend.draw(&PathElement::new([(4, y), (24, y)], line))?;
        legend.draw(&Text::new(of[0].name.clone(), (30, y - 6), FONT))?;
    }
    Ok(())
}
