//! Parameters in two forms, as typed and as filled in, from one list.

/// Declares the parameters of a plugin some of whose defaults are no constants: they depend on the
/// preset, on the model's manifest, or on one another.
///
/// ```
/// use fame_core::{Result, Target, TargetRequest, Tensor, contract::{Evaluation, Loss, per_row},
/// registry::{BuildContext, Parameters, Assembly, Plugin}};
///
/// fame_core::parameters! {
///     /// Descends the sum of the target layer, or of its absolute values.
///     pub struct Total {
///         /// Multiplies the value; any number above 0.
///         weight: f32 = 1.0,
///         /// Whether absolute values are summed. Default: no; under the preset Loud yes.
///         absolute: bool = open,
///     }
/// }
///
/// impl Parameters for Total {
///     type Typed = typed::Total;
///
///     fn fill(typed: typed::Total, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
///         Some(typed.or(with.preset == "Loud"))
///     }
/// }
///
/// impl Plugin<dyn Loss> for Total {
///     const NAME: &'static str = "Total";
///     const SUMMARY: &'static str = "The sum of the target layer";
///     const EXAMPLE: &'static str = "Total(weight: 2.0)";
///     const PRESETS: &'static [&'static str] = &["Loud"];
///
///     fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
///         assembly.check("weight", self.weight > 0.0, "must be above 0");
///     }
///
///     fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
///         Some(Box::new(self))
///     }
/// }
/// # impl Loss for Total {
/// #     fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
/// #         Ok(vec![Target::unnamed()])
/// #     }
/// #     fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
/// #         let of = |y: f32| if self.absolute { y.abs() } else { y };
/// #         per_row(outputs, targets, |y, _, _| {
/// #             Ok(self.weight * y[0].iter().map(|y| of(*y)).sum::<f32>())
/// #         })
/// #     }
/// # }
/// # fame_core::register!(Loss: Total);
///
/// # fn main() {
/// let total: Total = fame_core::testkit::parameters("(weight: 2)").unwrap();
/// assert_eq!((total.weight, total.absolute), (2.0, false));
/// # }
/// ```
///
/// What stands behind a parameter's type is its default:
///
/// | default | as typed | filled in |
/// | --- | --- | --- |
/// | an expression | the type | the type |
/// | `open` | an `Option` | the type; [`Parameters::fill`](crate::registry::Parameters::fill) says which value |
/// | `hint` | an `Option` | not there: it only helps to fill in others |
///
/// The macro writes the struct, whose open parameters are no `Option`s, and in a module `typed`
/// beside it a struct of the same name that the recipe's text is read into: serde refuses unknown
/// fields there, and the JSON schema has every docstring. Its method `or` turns the one into the
/// other: it takes a value for each open parameter, in their order, and prefers what the recipe
/// says.
#[macro_export]
macro_rules! parameters {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident { $($fields:tt)* }
    ) => {
        $crate::parameters! {
            @ [$(#[$doc])*] $vis $name
            typed {} defaults {} filled {} open {} constant {}
            $($fields)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } filled { $($filled:tt)* }
        open { $($open:tt)* } constant { $($constant:tt)* }
        $(#[$about:meta])* $field:ident: $kind:ty = open, $($rest:tt)*
    ) => {
        $crate::parameters! {
            @ [$($doc)*] $vis $name
            typed { $($typed)* $(#[$about])* pub $field: Option<$kind>, }
            defaults { $($defaults)* $field: None, }
            filled { $($filled)* $(#[$about])* pub $field: $kind, }
            open { $($open)* $field: $kind, } constant { $($constant)* }
            $($rest)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } filled { $($filled:tt)* }
        open { $($open:tt)* } constant { $($constant:tt)* }
        $(#[$about:meta])* $field:ident: $kind:ty = hint, $($rest:tt)*
    ) => {
        $crate::parameters! {
            @ [$($doc)*] $vis $name
            typed { $($typed)* $(#[$about])* pub $field: Option<$kind>, }
            defaults { $($defaults)* $field: None, }
            filled { $($filled)* }
            open { $($open)* } constant { $($constant)* }
            $($rest)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } filled { $($filled:tt)* }
        open { $($open:tt)* } constant { $($constant:tt)* }
        $(#[$about:meta])* $field:ident: $kind:ty = $default:expr, $($rest:tt)*
    ) => {
        $crate::parameters! {
            @ [$($doc)*] $vis $name
            typed { $($typed)* $(#[$about])* pub $field: $kind, }
            defaults { $($defaults)* $field: $default, }
            filled { $($filled)* $(#[$about])* pub $field: $kind, }
            open { $($open)* } constant { $($constant)* $field, }
            $($rest)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } filled { $($filled:tt)* }
        open { $($open:ident: $kind:ty,)* } constant { $($constant:ident,)* }
    ) => {
        $($doc)*
        #[derive(Clone, Debug, ::serde::Serialize)]
        $vis struct $name { $($filled)* }

        /// The parameters as a recipe types them.
        mod typed {
            #[allow(unused_imports)]
            use super::*;

            $($doc)*
            #[derive(Clone, Debug, ::serde::Deserialize, ::schemars::JsonSchema)]
            #[serde(deny_unknown_fields, default)]
            pub struct $name { $($typed)* }

            impl ::std::default::Default for $name {
                fn default() -> Self {
                    Self { $($defaults)* }
                }
            }

            impl $name {
                /// These parameters, with a value for each one that was left open.
                #[allow(clippy::too_many_arguments)]
                pub(super) fn or(self, $($open: $kind),*) -> super::$name {
                    super::$name {
                        $($constant: self.$constant,)*
                        $($open: self.$open.unwrap_or($open),)*
                    }
                }
            }
        }
    };
}
