//! Two charts on one sheet: what is gained and what is lost by patience.

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use crate::{Cell, PATIENCES, PORT_DELAYS};

/// From light to dark with the port delay, in hues that differ for most eyes.
const COLOURS: [RGBColor; 5] = [
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(0, 90, 160),
    RGBColor(120, 30, 90),
];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Draws false fallback, and wait where 587 is silent, against patience: a line for each port
/// delay, and a ring where the default patience comes out.
pub(crate) fn draw(cells: &[Cell], file: &str) -> Result<()> {
    let sheet = SVGBackend::new(file, (1100, 460)).into_drawing_area();
    sheet.fill(&WHITE)?;
    let (left, right) = sheet.split_horizontally(550);
    let (up_right, up_left) = (SeriesLabelPosition::UpperRight, SeriesLabelPosition::UpperLeft);
    chart(&left, cells, "587 is open, and 25 was used (%)", up_right, |c| c.sums.false_fallback())?;
    chart(&right, cells, "587 is silent: mean wait (s)", up_left, |c| c.sums.silent_wait())?;
    sheet.present()?;
    Ok(())
}

fn chart<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    cells: &[Cell],
    title: &str,
    legend: SeriesLabelPosition,
    value: impl Fn(&Cell) -> f64,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let top = cells.iter().map(&value).fold(0.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(48)
        .build_cartesian_2d((200f64..5200f64).log_scale(), 0f64..top)?;
    chart
        .configure_mesh()
        .x_desc("patience (ms); the ring is the default, 1.3 s or 1 s and two round trips")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (delay, colour) in PORT_DELAYS.into_iter().zip(COLOURS) {
        let of_delay = || cells.iter().filter(|cell| cell.port_delay == delay);
        let fixed = of_delay().filter(|cell| cell.patience > 0);
        let line = fixed.map(|cell| (cell.patience as f64, value(cell)));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(format!("port delay {delay} ms"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        let ring = of_delay().filter(|cell| cell.patience == PATIENCES[0]);
        let ring = ring.map(|cell| Circle::new((1300.0, value(cell)), 5, colour.stroke_width(2)));
        chart.draw_series(ring)?;
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
