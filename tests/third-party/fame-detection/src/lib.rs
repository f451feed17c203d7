//! # fame-detection: which pixels make this detection?
mod datasets;
mod detections;
mod explainers;
mod head;
mod losses;
mod matched;
mod metrics;
mod pictures;
mod probe;
mod rect;
#[cfg(test)]
mod testing;
