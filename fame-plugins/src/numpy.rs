//! Arrays of numbers in `.npy` files.

use std::io;

use fame_core::data::require_memory;
use npyz::NpyFile;

/// An array, its values as `f64` in row-major order.
pub(crate) struct Array {
    /// The extents of its axes.
    pub(crate) shape: Vec<usize>,
    /// Its values.
    pub(crate) values: Vec<f64>,
    /// numpy's name of the type.
    pub(crate) kind: &'static str,
}

impl Array {
    /// Reads the bytes of a file of floats, whole numbers or truth values.
    ///
    /// # Errors
    /// The end of a sentence that begins with the file's name: it is no such file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        check_header(bytes)?;
        let npy = NpyFile::new(bytes).map_err(|e| format!("is not a .npy file: {e}"))?;
        let shape: Vec<usize> = npy.shape().iter().map(|d| *d as usize).collect();
        // A byte of the file becomes eight.
        let size = npy.len().saturating_mul(size_of::<f64>() as u64);
        require_memory(format!("holds {} values, and they", npy.len()), size)
            .map_err(|e| e.message.trim_end_matches('.').to_owned())?;
        let is_column_major = npy.order() == npyz::Order::Fortran;
        let (kind, values) = numbers(npy)?;
        let values = if is_column_major { row_major(&values, &shape) } else { values };
        Ok(Self { shape, values, kind })
    }
}

/// Refuses headers that no array of numbers has, before they are parsed: the parser takes
/// exponential time for brackets within brackets.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    /// numpy writes 118 bytes for a map.
    const LONGEST: usize = 4096;
    let found = match *bytes {
        [_, _, _, _, _, _, 1, _, low, high, ..] => {
            Some((10, usize::from(u16::from_le_bytes([low, high]))))
        }
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
            usize::try_from(u32::from_le_bytes([a, b, c, d])).ok().map(|length| (12, length))
        }
        _ => None,
    };
    let Some((start, length)) = found.filter(|(_, length)| *length <= LONGEST) else {
        return Err("is not a .npy file: its header is damaged".to_owned());
    };
    // No byte more: a value may begin with what looks like a bracket.
    let header = bytes.get(start..).unwrap_or_default();
    let header = &header[..header.len().min(length)];
    if header.contains(&b'[') {
        return Err("holds records, not one number in each place".to_owned());
    }
    if !has_countable_shape(header) {
        return Err("promises more values than can be counted".to_owned());
    }
    Ok(())
}

/// Whether the extents in a header have a product, and the bytes of so many values: the parser
/// multiplies them without looking. Its other numbers, such as the width of a value, count along; 0
/// is taken for 1, for any order of the factors may pass by it.
fn has_countable_shape(header: &[u8]) -> bool {
    let runs = header.split(|byte| !byte.is_ascii_digit()).filter(|run| !run.is_empty());
    let mut product: u64 = size_of::<f64>() as u64;
    for run in runs {
        let number = std::str::from_utf8(run).ok().and_then(|run| run.parse::<u64>().ok());
        let Some(next) = number.and_then(|number| product.checked_mul(number.max(1))) else {
            return false;
        };
        product = next;
    }
    i64::try_from(product).is_ok()
}

/// All values, whatever their type, with numpy's name of it.
fn numbers(npy: NpyFile<&[u8]>) -> Result<(&'static str, Vec<f64>), String> {
    fn all<T: npyz::Deserialize>(
        npy: NpyFile<&[u8]>,
        number: impl Fn(T) -> f64,
    ) -> io::Result<Vec<f64>> {
        Ok(npy.into_vec::<T>()?.into_iter().map(number).collect())
    }
    let descr = npy.dtype().descr();
    let (kind, values) = match descr.trim_matches('\'') {
        "<f4" | ">f4" => ("float32", all::<f32>(npy, f64::from)),
        "<f8" | ">f8" => ("float64", all::<f64>(npy, |v| v)),
        "|u1" => ("uint8", all::<u8>(npy, f64::from)),
        "<u2" | ">u2" => ("uint16", all::<u16>(npy, f64::from)),
        "|b1" => ("bool", all::<bool>(npy, |v| f64::from(u8::from(v)))),
        "|i1" => ("int8", all::<i8>(npy, f64::from)),
        "<i2" | ">i2" => ("int16", all::<i16>(npy, f64::from)),
        "<i4" | ">i4" => ("int32", all::<i32>(npy, f64::from)),
        "<u4" | ">u4" => ("uint32", all::<u32>(npy, f64::from)),
        "<i8" | ">i8" => ("int64", all::<i64>(npy, |v| v as f64)),
        "<u8" | ">u8" => ("uint64", all::<u64>(npy, |v| v as f64)),
        other => {
            return Err(format!(
                "holds values of type {other}; float32, float64, bool and whole numbers can be read"
            ));
        }
    };
    Ok((kind, values.map_err(|e| format!("cannot be read: {e}"))?))
}

/// Values of a column-major array in row-major order.
fn row_major(values: &[f64], shape: &[usize]) -> Vec<f64> {
    let mut steps = vec![1; shape.len()];
    for axis in 1..shape.len() {
        steps[axis] = steps[axis - 1] * shape[axis - 1];
    }
    let place = |mut n: usize| {
        let mut place = 0;
        for (extent, step) in shape.iter().zip(&steps).rev() {
            place += n % extent * step;
            n /= extent;
        }
        place
    };
    (0..values.len()).map(|n| values[place(n)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of an array, as numpy writes it.
    fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let about = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
        let header = format!("{about:<117}\n");
        [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), values].concat()
    }

    #[test]
    fn fuzz_npy() {
        let corpus = [
            npy("<f4", "2, 3", &[0x3f; 24]),
            npy("<f8", "3,", &[0x40; 24]),
            npy("|u1", "1, 2, 2", &[7; 4]),
            npy(">i8", "", &[0; 8]),
            npy("|b1", "2, 2", &[1, 0, 1, 0]),
        ];
        assert!(corpus.iter().all(|whole| Array::read(whole).is_ok()));
        let words =
            ["'fortran_order': True", "[('a', '<f4')]", "4294967296, ", "-1, ", "|O", "<c8"];
        fame_core::testkit::fuzz("npy", &corpus, &words, |bytes| {
            if let Ok(array) = Array::read(bytes) {
                assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
            }
        });
    }

    #[test]
    fn values_are_no_part_of_the_header() {
        // What a header must not have: a bracket, and numbers without end.
        let bytes = *b"[\"\xf0\x3d99999999";
        for version in [1, 2] {
            let mut file = npy("<f4", "3,", &bytes);
            if version == 2 {
                file[6] = 2;
                file.splice(8..10, [0x76, 0, 0, 0]);
            }
            let array = Array::read(&file).unwrap_or_else(|why| panic!("{version}: {why}"));
            assert_eq!(array.values[0], f64::from(f32::from_le_bytes(*b"[\"\xf0\x3d")));
        }
    }

    #[test]
    fn a_shape_without_a_product_is_refused_before_it_is_multiplied() {
        let said = |shape: &str| Array::read(&npy("<f4", shape, &[0; 8])).err().unwrap();
        for shape in [
            "99999999999,99999999999",
            "18446744073709551615,2",
            "0,9999999999,9999999999",
            "99999999999999999999",
        ] {
            assert_eq!(said(shape), "promises more values than can be counted");
        }
        // This has a product, and no machine the memory for it (or, unknown, the file the values).
        let said = said("99999999999999,4");
        let memory = "holds 399999999999996 values, and they would take";
        assert!(said.starts_with(memory) || said.starts_with("cannot be read"), "{said}");
    }

    #[test]
    fn columns_become_rows() {
        // [[0, 1, 2], [3, 4, 5]], column by column.
        assert_eq!(row_major(&[0., 3., 1., 4., 2., 5.], &[2, 3]), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(row_major(&[7.0], &[]), [7.0]);
    }
}
