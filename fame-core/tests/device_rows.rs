//! Rows on a device are walked as rows on the host are. The test kit's network offers both, and its
//! device is the host by another way, so that they agree to the bit.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use fame_core::{
    Error, Model, Result, Tensor,
    ask::{Aim, Row, WalkedRow, walk_rows},
    contract::{Plain, PlainStep, Silent, StepRule, Stop, Walk, plain_walk},
    data::Facts,
    testkit::{self, FakeLoss, OnHost},
    text::{LayerChoice, LayerChoices},
};

/// A walk that only somebody else can move.
struct Carried(Box<dyn Walk>);

impl Walk for Carried {
    fn image(&self) -> Result<Tensor> {
        self.0.image()
    }
    fn observe(&mut self, loss: f32) -> Result<Option<Stop>> {
        self.0.observe(loss)
    }
    fn step(&mut self, _: &Tensor) -> Result<Option<Stop>> {
        Err(Error::bug("this walk has no legs."))
    }
    fn field(&self) -> Result<Tensor> {
        self.0.field()
    }
    fn facts(&self) -> Result<Facts> {
        self.0.facts()
    }
    fn plain(&self) -> Result<Option<Plain>> {
        self.0.plain()
    }
    fn arrive(&mut self, place: Tensor) -> Result<()> {
        self.0.arrive(place)
    }
}

fn on_host() -> Model {
    let model = testkit::model().unwrap();
    Model { network: Box::new(OnHost(model.network)), ..model }
}

/// Five rows, of which two are walked at once; `walk` wraps each walk, and `sizes` are their steps'.
fn walked(
    model: &Model,
    sizes: [f32; 5],
    walk: impl Fn(Box<dyn Walk>) -> Box<dyn Walk>,
) -> Result<Vec<WalkedRow>> {
    let sample = testkit::sample("s", &["a", "b", "c", "d", "e"], testkit::SIZE)?;
    let loss = FakeLoss::default();
    let aim = Aim::new(model, &LayerChoices::from(LayerChoice::Output), &loss)?;
    let convention = &model.manifest.input;
    let mut rows = Vec::new();
    for ((n, about), size) in aim.rows(&sample, None)?.into_iter().enumerate().zip(sizes) {
        let place = convention.pixels(&sample.pictures[n].1.pixels)?;
        let (mean, std) = (convention.mean.clone(), convention.std.clone());
        let bounds = Some(vec![[0.0, 1.0]; 3]);
        let step = PlainStep { rule: StepRule::Largest, size, mean, std, bounds };
        let mut looks = 0;
        let observe = move |_| {
            looks += 1;
            (n == 1 && looks == 3).then(|| Stop::Other("third look".to_owned()))
        };
        rows.push(Row {
            walk: walk(plain_walk(place, step, observe)?),
            target: about.target,
            max_steps: [4, 9, 0, 6, 2][n],
            read_at: vec![0, 2, 5],
        });
    }
    walk_rows(&aim, rows, &Silent)
}

/// All that is told of a row.
fn told(row: &WalkedRow) -> String {
    let WalkedRow { losses, steps, stop, began, ended, readings, .. } = row;
    let (field, facts) = (row.walk.field().unwrap(), row.walk.facts().unwrap());
    format!("{losses:?} {steps} {stop:?} {began:?} {ended:?} {readings:?} {field:?} {facts:?}")
}

#[test]
fn rows_on_a_device_are_told_as_rows_on_the_host() {
    let here = walked(&on_host(), [0.02; 5], |walk| walk).unwrap();
    let there =
        walked(&testkit::model().unwrap(), [0.02; 5], |walk| Box::new(Carried(walk))).unwrap();
    let ends: Vec<_> = here.iter().map(|row| (row.steps, row.readings.len())).collect();
    assert_eq!(ends, [(4, 2), (2, 1), (0, 0), (6, 3), (2, 1)]);
    assert_eq!(here[1].stop, Stop::Other("third look".to_owned()));
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(told(there), told(here));
    }
}

#[test]
fn rows_that_step_differently_are_walked_on_the_host() {
    let model = testkit::model().unwrap();
    let sizes = [0.02, 0.02, 0.03, 0.02, 0.02];
    let message = walked(&model, sizes, |walk| Box::new(Carried(walk))).err().unwrap().message;
    assert!(message.contains("this walk has no legs"), "{message}");
    let (here, there) =
        (walked(&on_host(), sizes, |walk| walk), walked(&model, sizes, |walk| walk));
    for (here, there) in here.unwrap().iter().zip(&there.unwrap()) {
        assert_eq!(told(there), told(here));
    }
}
