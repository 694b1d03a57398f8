//! The figures as a picture: a row for each scenario, in it a lane for each strategy, latencies on a logarithmic scale beside
//! the share of errors.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Row, STRATEGIES};

const WIDTH: u32 = 1180;
const HEADER: u32 = 92;
const ROW: u32 = 62;
const AXIS: u32 = 46;

/// Widths of the names and of the latencies; the errors get the rest.
const NAMES: u32 = 300;
const LATENCIES: u32 = 600;

/// Space of the lanes in a row, as a share of its height.
const LANES: f64 = 0.72;

/// One for each strategy: Okabe and Ito's, which people with any colour vision tell apart.
const COLOURS: [RGBColor; STRATEGIES.len()] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(86, 86, 86),
    RGBColor(204, 121, 167),
];

const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(110, 110, 110);
const BAND: RGBColor = RGBColor(245, 246, 248);
const LINE: RGBColor = RGBColor(218, 221, 226);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the picture, as SVG.
pub fn draw(rows: &[Row]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let height = HEADER + ROW * rows.len() as u32 + AXIS;
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for n in (0..rows.len() as i32).step_by(2) {
            let top = HEADER as i32 + ROW as i32 * n;
            root.draw(&Rectangle::new([(0, top), (WIDTH as i32, top + ROW as i32)], BAND.filled()))?;
        }
        let (header, body) = root.split_vertically(HEADER);
        draw_header(&header, rows)?;
        let (names, panels) = body.split_horizontally(NAMES);
        let (latencies, errors) = panels.split_horizontally(LATENCIES);
        draw_names(&names, rows)?;
        draw_latencies(&latencies, rows)?;
        draw_errors(&errors, rows)?;
        root.present()?;
    }
    Ok(svg)
}

fn text(size: u32, colour: RGBColor, horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour).pos(Pos::new(horizontal, VPos::Center))
}

fn draw_header(area: &Area<'_>, rows: &[Row]) -> Drawn {
    area.draw_text("Ten servers, one strategy: what callers feel", &text(20, INK, HPos::Left), (16, 22))?;
    let (left, right) = ((NAMES + 8) as i32, (NAMES + LATENCIES + 28) as i32);
    for (n, cell) in rows[0].cells.iter().enumerate() {
        let x = 22 + 150 * n as i32;
        area.draw(&Circle::new((x, 50), 5, COLOURS[n].filled()))?;
        area.draw_text(&cell.strategy, &text(14, INK, HPos::Left), (x + 12, 50))?;
    }
    area.draw_text("99th percentile of the latency, logarithmic", &text(14, FAINT, HPos::Left), (left, 78))?;
    area.draw_text("calls that failed", &text(14, FAINT, HPos::Left), (right, 78))?;
    Ok(())
}

fn draw_names(area: &Area<'_>, rows: &[Row]) -> Drawn {
    for (n, Row { scenario, .. }) in rows.iter().enumerate() {
        let middle = (ROW as i32) * n as i32 + ROW as i32 / 2;
        area.draw_text(scenario.name(), &text(15, INK, HPos::Left), (16, middle - 10))?;
        area.draw_text(scenario.about(), &text(13, FAINT, HPos::Left), (16, middle + 10))?;
    }
    Ok(())
}

/// The middle of a strategy's lane, in rows from the top.
fn lane(row: usize, strategy: usize) -> f64 {
    row as f64 + 0.5 + LANES * ((strategy as f64 + 0.5) / COLOURS.len() as f64 - 0.5)
}

fn draw_latencies(area: &Area<'_>, rows: &[Row]) -> Drawn {
    let p99 = |row: usize, n: usize| rows[row].cells[n].p99.as_secs_f64() * 1e3;
    let all = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.p99.as_secs_f64() * 1e3);
    let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
    let mut chart = ChartBuilder::on(area)
        .margin_left(8)
        .margin_right(16)
        .x_label_area_size(AXIS)
        .build_cartesian_2d((least * 0.8..most * 1.25).log_scale(), rows.len() as f64..0.0)?;
    let label = |ms: &f64| if *ms < 1000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1000.0) };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(LINE)
        .light_line_style(TRANSPARENT)
        .axis_style(LINE)
        .x_label_style(text(13, FAINT, HPos::Center))
        .x_label_formatter(&label)
        .draw()?;
    for (n, colour) in COLOURS.iter().enumerate() {
        chart.draw_series((0..rows.len()).map(|row| {
            let y = lane(row, n);
            PathElement::new([(least * 0.8, y), (p99(row, n), y)], colour.mix(0.35))
        }))?;
        chart.draw_series(
            (0..rows.len()).map(|row| Circle::new((p99(row, n), lane(row, n)), 4, colour.filled())),
        )?;
    }
    Ok(())
}

fn draw_errors(area: &Area<'_>, rows: &[Row]) -> Drawn {
    let errors = |row: usize, n: usize| rows[row].cells[n].errors * 100.0;
    let most = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.errors * 100.0).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_left(28)
        .margin_right(24)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(0.0..most * 1.1, rows.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(5)
        .bold_line_style(LINE)
        .light_line_style(TRANSPARENT)
        .axis_style(LINE)
        .x_label_style(text(13, FAINT, HPos::Center))
        .x_label_formatter(&|percent: &f64| format!("{percent} %"))
        .draw()?;
    for (n, colour) in COLOURS.iter().enumerate() {
        chart.draw_series((0..rows.len()).filter(|row| errors(*row, n) > 0.0).map(|row| {
            let y = lane(row, n);
            Rectangle::new([(0.0, y - 0.05), (errors(row, n), y + 0.05)], colour.filled())
        }))?;
    }
    Ok(())
}
