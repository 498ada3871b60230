//! Drawings beside those of a plain NumPy implementation (`fixtures/diffusion`, made by `scripts/make_diffusion_references.py`), and
//! requests that do not fit a model.

use std::cell::Cell;
use std::path::Path;

use seedhouse_core::Code;
use seedhouse_core::runtime::{DenoiserInfo, Prediction};
use serde::Deserialize;
use serde_json::json;

use super::*;

/// Stands for a network: what it predicts can be computed in one line, as the script does.
struct Sines(DenoiserInfo);

impl Denoiser for Sines {
    fn info(&self) -> &DenoiserInfo {
        &self.0
    }

    fn predict(&self, images: &[f32], timesteps: &[usize], classes: &[Option<usize>]) -> Result<Vec<f32>> {
        let predict = |(image, (timestep, class)): (&[f32], (&usize, &Option<usize>))| -> Vec<f32> {
            let place = 0.05 * *timestep as f64 + class.map_or(0.0, |class| 0.4 * (class + 1) as f64);
            image.iter().map(|number| (0.8 * (0.9 * f64::from(*number) + place).sin()) as f32).collect()
        };
        let asked = timesteps.iter().zip(classes);
        Ok(images.chunks_exact(self.0.image_length()).zip(asked).flat_map(predict).collect())
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

#[derive(Deserialize)]
struct Expected {
    signal_shares: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    prediction_type: String,
    sampler: String,
    eta: f64,
    steps: usize,
    class: Option<usize>,
    guidance_scale: Option<f64>,
    images: Vec<f64>,
}

fn expected() -> Expected {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/diffusion/sampling.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Returns a model of images of 4 x 6 grey pixels.
fn model(prediction: Prediction, num_classes: Option<usize>) -> DiffusionPipeline {
    let signal_shares = expected().signal_shares;
    let info = DenoiserInfo { channels: 1, image_size: [4, 6], signal_shares, num_classes, prediction };
    DiffusionPipeline::new("fields_v1", Arc::new(Sines(info)), &Map::new(), BatchSettings::default()).unwrap()
}

fn draw(model: &DiffusionPipeline, request: &ImagineRequest) -> Drawing {
    model.draw(request, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn drawings_from_given_noise_are_those_of_another_implementation() {
    for case in expected().cases {
        let prediction = Prediction::ALL.into_iter().find(|known| known.as_str() == case.prediction_type).unwrap();
        let sampler = Sampler::ALL.into_iter().find(|known| known.as_str() == case.sampler).unwrap();
        let eta = if sampler == Sampler::Ddpm { 0.0 } else { case.eta };
        let model = model(prediction, Some(3));
        let shares = &model.model.info().signal_shares;
        let plan = Plan::new(shares, case.steps, sampler, eta).unwrap();
        let guidance = case.class.zip(case.guidance_scale).map(|(class, scale)| Guidance { class, scale });
        let mut step = 0;
        let mut noise = |numbers: &mut [f32]| {
            let pace = 0.91 + 0.13 * f64::from(step);
            let number = |index: usize| (1.7 * f64::from((pace * index as f64).sin() as f32)) as f32;
            numbers.iter_mut().enumerate().for_each(|(index, to)| *to = number(index));
            step += 1;
        };
        let mut images = vec![0.0; 24];
        model.run(&plan, guidance, &mut images, &mut noise, &mut |_| Ok(())).unwrap();
        let pairs = images.iter().zip(&case.images);
        let found = pairs.map(|(found, expected)| (f64::from(*found) - expected).abs()).fold(0.0, f64::max);
        // Images between steps are f32; nothing makes more of a difference than the first steps, where the image is a small share.
        assert!(found < 1e-4, "{case:?}: {found}, {images:?}");
        assert!(images.iter().any(|number| number.abs() > 0.1));
    }
}

#[test]
fn sample_is_the_same_alone_and_beside_others_and_another_seed_gives_others() {
    let model = model(Prediction::Noise, Some(3));
    for (sampler, eta, class) in
        [(Sampler::Ddim, 0.0, None), (Sampler::Ddpm, 0.0, Some(1)), (Sampler::Ddim, 0.7, Some(2))]
    {
        let request = ImagineRequest {
            samples: 3,
            steps: Some(9),
            seed: 5,
            sampler,
            eta,
            class: class.map(ClassChoice::Id),
            ..ImagineRequest::default()
        };
        let together = draw(&model, &request);
        let alone = draw(&model, &request);
        let timed = Drawing { seconds: together.seconds, queue_seconds: together.queue_seconds, ..alone };
        assert_eq!(together, timed, "same seed, same images");
        let alone = draw(&model, &ImagineRequest { samples: 1, ..request.clone() });
        assert_eq!(alone.images[..], together.images[..1]);
        assert_ne!(together.images[0], together.images[1]);
        let other = draw(&model, &ImagineRequest { seed: 6, ..request });
        assert_ne!(other.images, together.images);
    }
}

#[test]
fn guidance_has_an_effect_with_a_class_only_and_the_drawing_says_so() {
    let labelled = model(Prediction::Noise, Some(3));
    let request = ImagineRequest { steps: Some(5), ..ImagineRequest::default() };
    let with_class = ImagineRequest { class: Some(ClassChoice::Id(1)), ..request.clone() };
    let strong = ImagineRequest { guidance_scale: 3.0, ..with_class.clone() };
    assert!(draw(&labelled, &with_class).is_guided && draw(&labelled, &strong).is_guided);
    assert_ne!(draw(&labelled, &with_class).images, draw(&labelled, &strong).images);
    // Plain conditional, and no condition at all: half of the work.
    for (scale, class) in [(1.0, Some(1)), (0.0, None)] {
        let drawing = draw(&labelled, &ImagineRequest { guidance_scale: scale, ..with_class.clone() });
        assert!(!drawing.is_guided);
        let plain = ImagineRequest { guidance_scale: 1.0, class: class.map(ClassChoice::Id), ..request.clone() };
        assert_eq!(drawing.images, draw(&labelled, &plain).images, "{scale}");
    }
    for model in [&labelled, &model(Prediction::Noise, None)] {
        let drawing = draw(model, &request);
        assert!(!drawing.is_guided && drawing.class.is_none());
        let other = draw(model, &ImagineRequest { guidance_scale: 1.0, ..request.clone() });
        assert_eq!(drawing.images, other.images);
    }
}

#[test]
fn class_is_found_by_number_and_by_label() {
    let mut model = model(Prediction::Noise, Some(3));
    let labels = json!({"labels": ["小麦", "2", "rice"]});
    model.labels = Labels::of_metadata(labels.as_object().unwrap()).unwrap();
    let class = |class: ClassChoice| model.class(&ImagineRequest { class: Some(class), ..ImagineRequest::default() });
    for (name, expected) in [("小麦", 0), ("2", 1), ("1", 1), ("rice", 2)] {
        assert_eq!(class(ClassChoice::Name(name.into())).unwrap(), Some(expected), "{name}");
    }
    assert_eq!(class(ClassChoice::Id(2)).unwrap(), Some(2));
    for wrong in [ClassChoice::Id(3), ClassChoice::Name("maize".into()), ClassChoice::Name("3".into())] {
        let error = class(wrong).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("class")), "{error}");
    }
}

#[test]
fn labels_of_another_number_than_the_classes_are_refused() {
    let labels = json!({"labels": ["a", "b"]});
    for classes in [Some(3), None] {
        let model = model(Prediction::Noise, classes).model;
        let error = DiffusionPipeline::new("fields_v1", model, labels.as_object().unwrap(), BatchSettings::default())
            .err()
            .unwrap();
        assert!(error.to_string().contains("2 labels"), "{error}");
    }
}

#[test]
fn requests_that_do_not_fit_are_refused_with_the_value() {
    let model = model(Prediction::Noise, None);
    let request = ImagineRequest::default();
    let cases = [
        (ImagineRequest { samples: 0, ..request.clone() }, "num_samples"),
        (ImagineRequest { samples: 65, ..request.clone() }, "num_samples"),
        (ImagineRequest { samples: usize::MAX, ..request.clone() }, "num_samples"),
        (ImagineRequest { image_size: Some(4), ..request.clone() }, "image_size"),
        (ImagineRequest { steps: Some(0), ..request.clone() }, "steps"),
        (ImagineRequest { steps: Some(41), ..request.clone() }, "steps"),
        (ImagineRequest { guidance_scale: f64::NAN, ..request.clone() }, "guidance_scale"),
        (ImagineRequest { guidance_scale: -1.0, ..request.clone() }, "guidance_scale"),
        (ImagineRequest { class: Some(ClassChoice::Id(0)), ..request.clone() }, "class"),
    ];
    for (request, field) in cases {
        let error = model.draw(&request, &mut |_| panic!("nothing is drawn")).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)), "{error}");
    }
}

#[test]
fn drawing_is_told_after_each_step_and_ends_when_nobody_wants_it() {
    let model = model(Prediction::Noise, None);
    let request = ImagineRequest { steps: Some(6), samples: 2, ..ImagineRequest::default() };
    let seen = Cell::new(0);
    let drawing = model
        .draw(&request, &mut |progress| {
            seen.set(seen.get() + 1);
            assert_eq!((progress.step, progress.steps), (seen.get(), 6));
            assert_eq!(progress.previews().len(), 2);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((seen.take(), drawing.steps), (6, 6));
    let error = model.draw(&request, &mut |progress| {
        seen.set(progress.step);
        if progress.step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((error.unwrap_err().code(), seen.take()), (Code::Cancelled, 3));
    let hurried = ImagineRequest { timeout: Some(Duration::ZERO), ..request };
    let error = model.draw(&hurried, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.code(), Code::Deadline, "{error}");
    assert!(error.to_string().contains("fields_v1"), "{error}");
}

#[test]
fn prediction_that_is_not_finite_is_a_fault_that_names_the_model() {
    struct Broken(DenoiserInfo);
    impl Denoiser for Broken {
        fn info(&self) -> &DenoiserInfo {
            &self.0
        }
        fn predict(&self, images: &[f32], _: &[usize], _: &[Option<usize>]) -> Result<Vec<f32>> {
            Ok(vec![f32::INFINITY; images.len()])
        }
        fn memory_bytes(&self) -> u64 {
            0
        }
    }
    let info = model(Prediction::Noise, None).model.info().clone();
    let broken = DiffusionPipeline::new("fields_v1", Arc::new(Broken(info)), &Map::new(), BatchSettings::default());
    let broken = broken.unwrap();
    let error = broken.draw(&ImagineRequest::default(), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(error.to_string().contains("`fields_v1` predicted inf at timestep 39"), "{error}");
}

#[test]
fn drawings_of_one_model_were_all_computed_at_once_however_many_they_were() {
    let mut model = model(Prediction::Noise, None);
    model.queue = Batcher::new("fields_v1", BatchSettings { queued: 1, ..BatchSettings::default() }.one_by_one());
    let request = ImagineRequest { steps: Some(1), ..ImagineRequest::default() };
    let (cancel, go_on) = (Cancel::default(), |_: DrawingProgress<'_>| ControlFlow::Continue(()));
    let code = |request: &ImagineRequest| model.draw(request, &mut go_on.clone()).unwrap_err().code();
    let code = &code;
    let drawing = model.draw(&request, &mut |_| {
        std::thread::scope(|scope| {
            let hurried = ImagineRequest { timeout: Some(Duration::from_millis(20)), ..request.clone() };
            assert_eq!(scope.spawn(move || code(&hurried)).join().unwrap(), Code::Deadline);
            let left = ImagineRequest { cancel: cancel.clone(), ..request.clone() };
            let waiting = scope.spawn(move || code(&left));
            while model.batch_statistics().waiting < 1 {
                std::thread::yield_now();
            }
            assert_eq!(code(&request), Code::Exhausted);
            cancel.set();
            assert_eq!(waiting.join().unwrap(), Error::Cancelled.code(), "a caller that left waits no longer");
        });
        ControlFlow::Continue(())
    });
    assert_eq!(drawing.unwrap().images.len(), 1);
    let statistics = model.batch_statistics();
    assert_eq!((statistics.refused, statistics.expired, statistics.cancelled, statistics.items), (1, 1, 1, 1));
}
