//! A plugin that fits and then misbehaves, in every way that fame must survive: panics, wrong
//! shapes, NaN, names that are no names.

use fame_core::{
    AttributionMap, Error, Explanation, Model, Picture, Result, Sample, Target, TargetRequest,
    Tensor,
    contract::{
        Dataset, Evaluation, ExplainContext, Explainer, Files, ItemRef, Loss, MapStep, Measurement,
        Metric, Perturbation, Start, Stop, Walk, per_row,
    },
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Fault {
    /// Nothing.
    None,
    /// Its factory panics.
    Factory,
    /// What is asked when it is built panics.
    Asked,
    /// A method panics.
    Call,
    /// A method panics in a thread that it starts.
    Thread,
    /// Dropping it panics.
    Drop,
    /// It returns the wrong shape.
    Shape,
    /// It returns NaN.
    NotANumber,
    /// It names something what cannot be a file name.
    Name,
    /// It counts wrongly.
    Count,
    /// It panics for the item `b` only.
    OneItem,
}

/// Goes wrong as asked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Faulty {
    /// What goes wrong.
    fault: Fault,
}

/// The running part. Its drop panics if that is its fault.
struct FaultyExplainer(Fault);

impl FaultyExplainer {
    fn new(fault: Fault) -> Self {
        assert!(fault != Fault::Factory, "there is no factory here");
        Self(fault)
    }

    fn has(&self, fault: Fault) -> bool {
        self.0 == fault
    }

    fn call(&self) {
        assert!(!self.has(Fault::Call), "called at a bad time");
        if self.has(Fault::Thread) {
            let told = std::thread::spawn(|| panic!("a thread of the plugin fell")).join();
            told.expect("the thread ends well");
        }
    }
}

impl Drop for FaultyExplainer {
    fn drop(&mut self) {
        assert!(!self.has(Fault::Drop), "it would not go");
    }
}

macro_rules! faulty {
    ($kind:ident, $contract:ident) => {
        impl Plugin<dyn $contract> for Faulty {
            const NAME: &'static str = "Faulty";
            const SUMMARY: &'static str = "Goes wrong as asked";
            const EXAMPLE: &'static str = "Faulty(fault: None)";

            fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn $contract>> {
                Some(Box::new(FaultyExplainer::new(self.fault)))
            }
        }

        fame_core::register!($kind: Faulty);
    };
}

faulty!(Loss, Loss);
faulty!(Perturbation, Perturbation);
faulty!(Map, MapStep);
faulty!(Explainer, Explainer);
faulty!(Dataset, Dataset);
faulty!(Metric, Metric);

impl Loss for FaultyExplainer {
    fn reference(&self) -> fame_core::contract::Reference {
        assert!(!self.has(Fault::Asked), "do not ask");
        fame_core::contract::Reference::None
    }

    fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let subject = if self.has(Fault::Name) {
            fame_core::Subject::Named("../../etc".to_owned())
        } else {
            fame_core::Subject::Whole
        };
        Ok(vec![Target { subject, ..Target::default() }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        self.call();
        let mut evaluation = per_row(outputs, targets, |outputs, _, cotangents| {
            cotangents[0].fill(1.0);
            Ok(outputs[0].iter().sum())
        })?;
        match self.0 {
            Fault::Shape => evaluation.cotangents = vec![Tensor::zeros([1, 2])],
            Fault::NotANumber => evaluation.cotangents[0].data_mut()[1] = f32::NAN,
            Fault::Count => evaluation.values.clear(),
            _ => {}
        }
        Ok(evaluation)
    }
}

impl Perturbation for FaultyExplainer {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        Ok(Box::new(Standing { fault: self.0, pixels: from.pixels.clone() }))
    }

    fn max_steps(&self) -> usize {
        assert!(!self.has(Fault::Asked), "do not ask");
        3
    }
}

/// A walk that goes nowhere.
struct Standing {
    fault: Fault,
    pixels: Tensor,
}

impl Walk for Standing {
    fn image(&self) -> Result<Tensor> {
        match self.fault {
            Fault::Shape => return Ok(Tensor::zeros([3, 1, 1])),
            Fault::NotANumber => return Ok(Tensor::filled(self.pixels.shape(), f32::NAN)),
            _ => {}
        }
        Ok(self.pixels.clone())
    }

    fn observe(&mut self, _: f32) -> Result<Option<Stop>> {
        assert!(self.fault != Fault::Call, "called at a bad time");
        Ok(None)
    }

    fn step(&mut self, _: &Tensor) -> Result<Option<Stop>> {
        Ok(None)
    }

    fn field(&self) -> Result<Tensor> {
        Ok(self.pixels.clone())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        assert!(self.fault != Fault::Drop, "it would not go");
    }
}

impl MapStep for FaultyExplainer {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        self.call();
        match self.0 {
            Fault::Shape => map.values = Tensor::zeros([1, 2, 3]),
            Fault::NotANumber => map.values.data_mut()[0] = f32::NAN,
            Fault::Count => map.channels.push("one more".to_owned()),
            _ => {}
        }
        Ok(map)
    }
}

impl Explainer for FaultyExplainer {
    fn check(&self, _: &Model) -> Result<()> {
        Ok(())
    }

    fn explain(&self, _: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        self.call();
        assert!(!self.has(Fault::OneItem) || samples.iter().all(|s| s.id != "b"), "not this one");
        if self.has(Fault::Count) {
            return Vec::new();
        }
        samples.iter().map(|sample| self.ramp(sample)).collect()
    }
}

impl FaultyExplainer {
    /// A map that grows from the first pixel to the last.
    fn ramp(&self, sample: &Sample) -> Result<Explanation> {
        let (role, picture) = sample.pictures.first().ok_or_else(|| Error::bug("no picture."))?;
        let (h, w) =
            if self.has(Fault::Shape) { (2, 2) } else { (picture.height(), picture.width()) };
        let mut values: Vec<f32> = (0..h * w).map(|i| i as f32 / (h * w - 1) as f32).collect();
        if self.has(Fault::NotANumber) {
            values[0] = f32::NAN;
        }
        let finished = Tensor::new([h, w], values)?;
        let id = fame_core::MapId::new(role).alone(true);
        let bad = fame_core::Subject::Named("a/b".to_owned());
        let id = if self.has(Fault::Name) { id.about(bad) } else { id };
        let map = fame_core::NamedMap::new(id, finished.clone(), finished);
        Ok(Explanation { maps: vec![map], ..Explanation::default() })
    }
}

impl Dataset for FaultyExplainer {
    fn files(&self) -> Vec<String> {
        assert!(!self.has(Fault::Asked), "do not ask");
        Vec::new()
    }

    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        self.call();
        let item = |id: &str| ItemRef { id: id.to_owned(), files: Vec::new(), note: String::new() };
        Ok(match self.0 {
            Fault::Name => vec![item("../../escape")],
            Fault::Count => vec![item("a"), item("a")],
            _ => vec![item("a"), item("b"), item("c")],
        })
    }

    fn load(&self, item: &ItemRef, _: &dyn Files) -> Result<Sample> {
        assert!(!self.has(Fault::OneItem) || item.id != "b", "not this one");
        let values = (0..3 * 56 * 56).map(|i| (i % 97) as f32 / 96.0).collect();
        let mut picture = Picture::new(Tensor::new([3, 56, 56], values)?, item.id.clone())?;
        match self.0 {
            Fault::Shape => picture.pixels = Tensor::zeros([1, 56, 56]),
            Fault::NotANumber => picture.pixels.data_mut()[7] = f32::NAN,
            _ => {}
        }
        Ok(Sample {
            id: item.id.clone(),
            pictures: vec![("image".to_owned(), picture)],
            ..Sample::default()
        })
    }
}

impl Metric for FaultyExplainer {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        self.call();
        let value = if self.has(Fault::NotANumber) { f64::NAN } else { 1.0 };
        let of = |map: &fame_core::NamedMap| Measurement {
            map: map.name(),
            name: "one".into(),
            parameter: fame_core::Parameter::None,
            value,
        };
        Ok(explanation.maps.iter().map(of).collect())
    }
}

// Named one by one, as a crate would that brings the plugins of a library it depends on.
fame_core::export_plugin!(Loss: Faulty, Perturbation: Faulty, Map: Faulty, Explainer: Faulty, Dataset: Faulty, Metric: Faulty);
