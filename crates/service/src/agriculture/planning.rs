//! When the stages of a cultivation begin, and how much area it takes.

use jiff::ToSpan;
use jiff::civil::Date;
use seedhouse_core::{Error, Result};
use serde::Serialize;

use super::{CropBook, Stage};
use crate::Service;

/// A cultivation that somebody plans.
#[derive(Debug, Clone, PartialEq)]
pub struct CropPlanRequest {
    /// The crop.
    pub crop_type: String,
    /// What is to be harvested, in kg.
    pub target_yield: f64,
    /// When it is sown, as `2026-04-01`.
    pub start_date: String,
    /// When it should be harvested at the latest.
    pub expected_harvest_date: Option<String>,
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CropPlan {
    /// The crop.
    pub crop_type: String,
    /// What is to be harvested, in kg.
    pub target_yield: f64,
    /// What a square metre gives.
    pub yield_kg_per_m2: f64,
    /// The area that it takes.
    pub area_m2: f64,
    /// The first day.
    pub start_date: String,
    /// The day after the last stage.
    pub harvest_date: String,
    /// How long it takes.
    pub total_days: u32,
    /// The day that was asked for.
    pub expected_harvest_date: Option<String>,
    /// How many days are left until that day, or below 0 how many are missing.
    pub days_to_spare: Option<i32>,
    /// Whether the harvest is not later than asked for; nothing where nothing was asked for.
    pub is_in_time: Option<bool>,
    /// The stages, one after another.
    pub stages: Vec<PlannedStage>,
    /// Where the figures come from.
    pub basis: String,
}

/// A stage with its days.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStage {
    /// What it asks for.
    #[serde(flatten)]
    pub stage: Stage,
    /// Its first day.
    pub start_date: String,
    /// Its last day.
    pub end_date: String,
}

impl Service {
    /// Plans a cultivation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a crop that is not known, a yield that is no amount, and what is no date.
    pub fn crop_plan(&self, request: &CropPlanRequest) -> Result<CropPlan> {
        plan(CropBook::embedded(), request)
    }
}

fn plan(book: &CropBook, request: &CropPlanRequest) -> Result<CropPlan> {
    let CropPlanRequest { crop_type, target_yield, start_date, expected_harvest_date } = request;
    let (crop_type, crop) = book.crop(crop_type)?;
    if !(*target_yield > 0.0 && target_yield.is_finite()) {
        return Err(Error::invalid("target_yield", target_yield, "must be a number of kg above 0"));
    }
    let start = date("start_date", start_date)?;
    let expected = expected_harvest_date.as_ref().map(|text| date("expected_harvest_date", text)).transpose()?;
    let later = |day: Date, days: u32| {
        day.checked_add(i64::from(days).days()).map_err(|_| {
            Error::invalid(
                "start_date",
                start,
                format!("the {} days of `{crop_type}` lead beyond the calendar", crop.days()),
            )
        })
    };
    let (mut first, mut stages) = (start, Vec::new());
    for stage in &crop.stages {
        let next = later(first, stage.days)?;
        let (start_date, end_date) = (first.to_string(), later(first, stage.days - 1)?.to_string());
        stages.push(PlannedStage { stage: stage.clone(), start_date, end_date });
        first = next;
    }
    // Between two dates of the calendar lie less than eight million days.
    let days_to_spare = expected.map(|expected| (expected - first).get_days());
    Ok(CropPlan {
        crop_type: crop_type.to_owned(),
        target_yield: *target_yield,
        yield_kg_per_m2: crop.yield_kg_per_m2,
        area_m2: target_yield / crop.yield_kg_per_m2,
        start_date: start.to_string(),
        harvest_date: first.to_string(),
        total_days: crop.days(),
        expected_harvest_date: expected.map(|date| date.to_string()),
        days_to_spare,
        is_in_time: days_to_spare.map(|days| days >= 0),
        stages,
        basis: book.basis.clone(),
    })
}

/// Reads a date; of a time, as web pages send it, the day is taken.
fn date(field: &str, text: &str) -> Result<Date> {
    let day = text.split_once('T').map_or(text, |(day, _)| day).trim();
    day.parse().map_err(|_| Error::invalid(field, text.escape_debug(), "must be a date such as `2026-04-01`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(start: &str, expected: Option<&str>) -> CropPlanRequest {
        CropPlanRequest {
            crop_type: "lettuce".into(),
            target_yield: 200.0,
            start_date: start.into(),
            expected_harvest_date: expected.map(str::to_owned),
        }
    }

    #[test]
    fn stages_follow_each_other_without_a_gap_over_a_leap_day() {
        let book = CropBook::embedded();
        let made = plan(book, &request("2028-02-10T08:00:00Z", Some("2028-03-20"))).unwrap();
        assert_eq!(made.stages[0].start_date, "2028-02-10");
        assert_eq!(
            (made.stages[0].end_date.as_str(), made.stages[1].start_date.as_str()),
            ("2028-02-23", "2028-02-24")
        );
        assert_eq!((made.total_days, made.harvest_date.as_str()), (45, "2028-03-26"));
        assert_eq!((made.days_to_spare, made.is_in_time), (Some(-6), Some(false)));
        assert!((made.area_m2 * made.yield_kg_per_m2 - 200.0).abs() < 1e-9);
        let open = plan(book, &request("2028-02-10", None)).unwrap();
        assert_eq!((open.days_to_spare, open.is_in_time), (None, None));
    }

    #[test]
    fn what_cannot_be_planned_is_refused_by_name() {
        let book = CropBook::embedded();
        let cases = [
            (CropPlanRequest { crop_type: "dragon fruit".into(), ..request("2026-04-01", None) }, "crop_type"),
            (CropPlanRequest { target_yield: 0.0, ..request("2026-04-01", None) }, "target_yield"),
            (CropPlanRequest { target_yield: f64::NAN, ..request("2026-04-01", None) }, "target_yield"),
            (request("2026-02-30", None), "start_date"),
            (request("9999-12-30", None), "start_date"),
            (request("2026-04-01", Some("in June")), "expected_harvest_date"),
        ];
        for (request, field) in cases {
            let error = plan(book, &request).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
        }
    }
}
