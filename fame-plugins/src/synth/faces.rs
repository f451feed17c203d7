//! Faces of people who do not exist: an identity is a set of measures and colours, a shot is light,
//! ground, expression and a small movement.

use fame_core::Random;
use image::RgbImage;

use super::canvas::{Colour, Texture, between, colour, mix, paint};

/// A made-up person: the measures that all pictures of one share.
struct Identity {
    skin: Colour,
    hair: Colour,
    eyes: Colour,
    lips: Colour,
    /// Half axes of the head, in its frame of 0..1.
    head: (f64, f64),
    hair_line: f64,
    eye_width: f64,
    eye_height: f64,
    brow: f64,
    nose: (f64, f64),
    mouth: (f64, f64),
}

impl Identity {
    fn new(random: &mut Random) -> Self {
        let skin = mix([0.93, 0.78, 0.68], [0.35, 0.22, 0.15], random.uniform());
        Self {
            skin,
            hair: mix([0.08, 0.06, 0.05], colour(random), 0.7),
            eyes: mix([0.2, 0.15, 0.1], colour(random), 0.8),
            lips: mix(skin, [0.75, 0.2, 0.25], between(random, 0.4, 0.9)),
            head: (between(random, 0.32, 0.42), between(random, 0.44, 0.52)),
            hair_line: between(random, 0.12, 0.34),
            eye_width: between(random, 0.045, 0.08),
            eye_height: between(random, 0.022, 0.045),
            brow: between(random, 0.012, 0.035),
            nose: (between(random, 0.03, 0.07), between(random, 0.1, 0.2)),
            mouth: (between(random, 0.09, 0.19), between(random, 0.02, 0.05)),
        }
    }
}

/// Where the eyes, nose and mouth of an aligned face lie, in 0..1 of the frame: near ArcFace's
/// template.
const EYES: [(f64, f64); 2] = [(0.342, 0.462), (0.657, 0.46)];
const NOSE: (f64, f64) = (0.5, 0.641);
const MOUTH: (f64, f64) = (0.5, 0.824);

/// The `shot`-th picture of the `person`-th person of `seed`, `side` × `side` pixels, aligned.
pub fn face(seed: u64, person: usize, shot: usize, side: u32) -> RgbImage {
    let who = Identity::new(&mut Random::stream(seed, person));
    // Streams of shots must not be those of people.
    let random = &mut Random::stream(seed ^ 0x5EED_FACE, person * 1_000_003 + shot);
    let light = between(random, 0.75, 1.15);
    let slant = between(random, -0.25, 0.25);
    let (dx, dy) = (between(random, -0.02, 0.02), between(random, -0.02, 0.02));
    let open = between(random, 0.6, 1.6);
    let (a, b) = (colour(random), colour(random));
    let ground = Texture::new(random, [a, b], 0.2);
    paint(side, side, |x, y| {
        let (u, v) = (x / f64::from(side) - dx, y / f64::from(side) - dy);
        let shade = light * (1.0 + slant * (u - 0.5));
        who.at(u, v, open).map_or_else(|| ground.at(u, v), |c| c.map(|c| c * shade))
    })
}

fn ellipse(u: f64, v: f64, (x, y): (f64, f64), (a, b): (f64, f64)) -> bool {
    let (p, q) = ((u - x) / a, (v - y) / b);
    p * p + q * q <= 1.0
}

impl Identity {
    /// The colour of the face at a point of its frame; `None` beside the head.
    fn at(&self, u: f64, v: f64, open: f64) -> Option<Colour> {
        let centre = (0.5, 0.55);
        if !ellipse(u, v, centre, self.head) {
            let (a, b) = self.head;
            let hair = v < centre.1 && ellipse(u, v, centre, (a + 0.05, b + 0.05));
            return hair.then_some(self.hair);
        }
        if v < self.hair_line {
            return Some(self.hair);
        }
        for eye in EYES {
            if ellipse(u, v, eye, (self.eye_width, self.eye_height)) {
                let iris = ellipse(u, v, eye, (self.eye_height * 0.9, self.eye_height * 0.9));
                return Some(if iris { self.eyes } else { [0.95, 0.95, 0.95] });
            }
            if ellipse(u, v, (eye.0, eye.1 - 0.08), (self.eye_width * 1.3, self.brow)) {
                return Some(self.hair);
            }
        }
        if ellipse(u, v, (NOSE.0, NOSE.1 - self.nose.1 / 2.0), (self.nose.0, self.nose.1 / 1.6)) {
            return Some(mix(self.skin, [0.0; 3], 0.18));
        }
        if ellipse(u, v, MOUTH, (self.mouth.0, self.mouth.1 * open)) {
            return Some(self.lips);
        }
        Some(self.skin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(a: &RgbImage, b: &RgbImage) -> f64 {
        // The middle of the face, where the ground does not show.
        let differs = |(x, y): (u32, u32)| {
            (0..3)
                .map(|c| f64::from(a.get_pixel(x, y).0[c].abs_diff(b.get_pixel(x, y).0[c])))
                .sum::<f64>()
        };
        (20..36).flat_map(|y| (18..38).map(move |x| (x, y))).map(differs).sum()
    }

    #[test]
    fn shots_of_one_person_are_nearer_than_those_of_two_on_average() {
        let (mut same, mut other) = (0.0, 0.0);
        for n in 0..20 {
            same += apart(&face(1, n, 0, 56), &face(1, n, 1, 56));
            other += apart(&face(1, n, 0, 56), &face(1, n + 1, 1, 56));
        }
        assert!(same < 0.7 * other, "{same} {other}");
        assert_eq!(face(1, 2, 3, 16), face(1, 2, 3, 16));
    }
}
