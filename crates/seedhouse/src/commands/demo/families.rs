//! Every family at work: rows, images, text, and a resource that is shared out.

use std::ops::ControlFlow;
use std::path::Path;

use seedhouse_core::Error;
use seedhouse_service::{
    ClassChoice, ClassifyRequest, DrawnImage, GenerateRequest, ImageInput, ImagineRequest, Patience, PixelImage,
    Prompt, Row, RowOutcome, Sampling, SamplingParameters, SolveRequest, TabularPolicies, TabularRequest,
};
use serde_json::{Value, json};

use super::{Demo, reference};

/// A field: what its soil has, and what is going to grow.
const FIELD: &str = r#"{"fertimap_crop_name": "Wheat (Rainfed)", "soil_ph": 7.9, "organic_matter_pct": 2.1, "available_p2o5": 28,
    "available_k2o": 260, "target_yield_value": 40}"#;

/// What was seen on a plant; the rest was not looked at.
const PLANT: &str = r#"{"date": "october", "plant-stand": "normal", "precip": "gt-norm", "temp": "norm", "hail": "yes",
    "crop-hist": "same-lst-yr", "area-damaged": "low-areas", "severity": "pot-severe", "seed-tmt": "none", "germination": "80-89",
    "plant-growth": "abnorm", "leaves": "abnorm", "leafspots-halo": "absent", "leafspots-marg": "dna", "leafspot-size": "dna",
    "leaf-shread": "absent", "leaf-malf": "absent", "leaf-mild": "absent", "stem": "abnorm", "lodging": "no",
    "stem-cankers": "above-sec-nde", "canker-lesion": "brown", "fruiting-bodies": "present", "external-decay": "firm-and-dry",
    "mycelium": "absent", "int-discolor": "none", "sclerotia": "absent", "fruit-pods": "norm", "roots": "norm"}"#;

/// Things to wear that are drawn, by their class.
const DRAWN: usize = 10;

/// Steps of a drawing.
const STEPS: usize = 25;

/// What a text begins with.
const BEGINNING: &str = "And the LORD said unto";

/// Shows each family, and returns what came out.
pub(super) fn show(demo: &Demo<'_>, images: Option<&Path>) -> anyhow::Result<Value> {
    let advice = rows(demo, "Regression: how much to fertilise a field", "npk", FIELD)?;
    let diagnosis = rows(demo, "Classification: what a soybean plant has", "soybean", PLANT)?;
    let drawn = draw(demo, images)?;
    let recognised = recognise(demo, &drawn)?;
    Ok(json!({
        "regression": advice,
        "classification": diagnosis,
        "diffusion": { "images": drawn.len(), "steps": STEPS },
        "vision": recognised,
        "transformer": write(demo)?,
        "optimization": allocate(demo)?,
    }))
}

fn rows(demo: &Demo<'_>, title: &str, model: &str, row: &str) -> anyhow::Result<Value> {
    demo.step(title)?;
    let row: Row = serde_json::from_str(row)?;
    for (name, value) in &row.0 {
        demo.say(&format!("  {name}: {value}"))?;
    }
    let request = TabularRequest { rows: vec![row], policies: TabularPolicies::default() };
    let answer = demo.service.predict_rows(&reference(model)?, &request, &Patience::default())?;
    let only = answer.value.only()?;
    match &only.outcome {
        RowOutcome::Targets(targets) => {
            targets.iter().try_for_each(|(name, value)| demo.say(&format!("→ {name} {}", tenths(*value))))?;
        }
        RowOutcome::Classes(ranked) => {
            let best = ranked.iter().take(3);
            best.map(|class| (class.confidence, class.class_name.as_deref().unwrap_or_default()))
                .try_for_each(|(confidence, name)| demo.say(&format!("→ {confidence:.4}  {name}")))?;
        }
    }
    Ok(json!(only))
}

/// Rounds to tenths; what is slightly below 0 is 0.
fn tenths(value: f32) -> f32 {
    (value * 10.0).round() / 10.0 + 0.0
}

/// Draws one of each class.
fn draw(demo: &Demo<'_>, file: Option<&Path>) -> anyhow::Result<Vec<DrawnImage>> {
    demo.step("Diffusion: clothes, drawn from noise")?;
    let mut drawn = Vec::with_capacity(DRAWN);
    for class in 0..DRAWN {
        let request = ImagineRequest {
            class: Some(ClassChoice::Id(class)),
            steps: Some(STEPS),
            seed: 7,
            guidance_scale: 2.0,
            ..ImagineRequest::default()
        };
        let answer =
            demo.service.imagine(&reference("clothes_diffusion")?, &request, &mut |_| ControlFlow::Continue(()))?;
        drawn.extend(answer.value.images);
    }
    for together in drawn.chunks(DRAWN / 2) {
        in_characters(together).iter().try_for_each(|line| demo.say(line))?;
    }
    if let Some(path) = file {
        std::fs::write(path, DrawnImage::grid(&drawn).png()?).map_err(Error::io("write", path))?;
        demo.say(&format!("written to {}", path.display()))?;
    }
    Ok(drawn)
}

/// Returns images side by side as lines of characters, a character for two rows of two pixels.
fn in_characters(images: &[DrawnImage]) -> Vec<String> {
    const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
    let of_image = |image: &DrawnImage| {
        let rows: Vec<Vec<u32>> =
            image.rows().map(|row| row.map(|pixel| u32::from(pixel.first().copied().unwrap_or(0))).collect()).collect();
        let line = |pair: &[Vec<u32>]| {
            let shade = |column: usize| SHADES[((pair[0][column] + pair[1][column]) / 2 * 5 / 256) as usize];
            (0..pair[0].len()).map(shade).collect::<String>()
        };
        rows.chunks_exact(2).map(line).collect::<Vec<String>>()
    };
    let columns: Vec<Vec<String>> = images.iter().map(of_image).collect();
    let height = columns.iter().map(Vec::len).min().unwrap_or(0);
    (0..height)
        .map(|line| {
            columns.iter().map(|column| column[line].as_str()).collect::<Vec<_>>().join(" ").trim_end().to_owned()
        })
        .collect()
}

/// Has both classifiers look at what was drawn.
fn recognise(demo: &Demo<'_>, drawn: &[DrawnImage]) -> anyhow::Result<Vec<Value>> {
    demo.step("Vision: what was drawn, seen by three classifiers")?;
    let mut seen = Vec::new();
    for image in drawn {
        let rows: Vec<Vec<Vec<f32>>> = image
            .rows()
            .map(|row| row.map(|pixel| pixel.iter().map(|value| f32::from(*value)).collect()).collect())
            .collect();
        let mut names = Vec::new();
        for model in ["clothes_cnn_v1", "clothes_vit_v1", "clothes_cnn_v1_quantized_int8"] {
            let request = ClassifyRequest { image: ImageInput::Pixels(PixelImage::new(&rows)?), top_k: Some(1) };
            let answer = demo.service.classify(&reference(model)?, &request, &Patience::default())?;
            let best = answer.value.predictions.first();
            let name = best.and_then(|best| best.class_name.as_deref().map(str::to_owned)).unwrap_or_default();
            names.push(format!("{name} ({:.2})", best.map_or(0.0, |best| best.confidence)));
        }
        demo.say(&format!("  cnn {:<20} vit {:<20} int8 cnn {}", names[0], names[1], names[2]))?;
        seen.push(json!({ "clothes_cnn_v1": names[0], "clothes_vit_v1": names[1], "clothes_cnn_v1_quantized_int8": names[2] }));
    }
    Ok(seen)
}

fn write(demo: &Demo<'_>) -> anyhow::Result<Value> {
    demo.step("Transformer: a text, continued")?;
    let mut request = GenerateRequest::new(Prompt::Text(BEGINNING.into()), 60);
    request.sampling = Sampling::new(&SamplingParameters { repetition_penalty: 1.1, ..SamplingParameters::default() })?;
    let answer = demo.service.generate(&reference("scripture_v1")?, &request, &mut |_| ControlFlow::Continue(()))?;
    let text = answer.value.first().text.clone();
    demo.say(&format!("{BEGINNING} …{text}"))?;
    Ok(json!({ "prompt": BEGINNING, "text": text }))
}

fn allocate(demo: &Demo<'_>) -> anyhow::Result<Value> {
    demo.step("Optimisation: water, land and labour shared out over crops")?;
    let answer = demo.service.solve(&reference("farm")?, &SolveRequest::default(), &|| false)?;
    let solution = answer.value.to_json();
    demo.say(&format!("→ {} {}", solution["objective"], solution["objective_unit"].as_str().unwrap_or_default()))?;
    for variable in solution["variables"].as_array().into_iter().flatten() {
        demo.say(&format!("  {} {}", variable["name"].as_str().unwrap_or_default(), variable["value"]))?;
    }
    Ok(solution)
}

/// Prints how some of them are asked over HTTP.
pub(super) fn print_usage(demo: &Demo<'_>, address: &str) -> std::io::Result<()> {
    demo.say(&format!("curl {address}/api/models/clothes_cnn"))?;
    demo.say(&format!(
        r#"curl {address}/api/inference/text/generation -d '{{"model_id": "scripture_v1", "prompt": "In the beginning", "max_length": 40}}'"#
    ))?;
    demo.say(&format!(
        r#"curl {address}/api/inference/image/generation -H 'Accept: image/png' -d '{{"model_id": "clothes_diffusion", "class": "Dress", "num_samples": 4}}' -o dress.png"#
    ))
}
