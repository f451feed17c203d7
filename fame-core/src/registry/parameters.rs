//! Parameters in two forms, as typed and as resolved, from one list.

/// Declares the parameters of a plugin some of whose defaults are no constants: they depend on the
/// preset, on the model's manifest, or on one another.
///
/// ```
/// use fame_core::{Result, Target, TargetRequest, Tensor, contract::{Evaluation, Loss, per_row}, registry::{BuildContext, Parts, Plugin}};
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
/// impl Plugin<dyn Loss> for Total {
///     const NAME: &'static str = "Total";
///     const SUMMARY: &'static str = "The sum of the target layer";
///     const EXAMPLE: &'static str = "Total(weight: 2.0)";
///     const PRESETS: &'static [&'static str] = &["Loud"];
///     type Resolved = Resolved;
///
///     fn resolve(self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Resolved> {
///         parts.check("weight", self.weight > 0.0, "must be above 0");
///         Some(self.or(with.preset == "Loud"))
///     }
///
///     fn build(total: Resolved, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Loss>> {
///         Some(Box::new(total))
///     }
/// }
/// # impl Loss for Resolved {
/// #     fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
/// #         Ok(vec![Target::unnamed()])
/// #     }
/// #     fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
/// #         let of = |y: f32| if self.absolute { y.abs() } else { y };
/// #         per_row(outputs, targets, |y, _, _| Ok(self.weight * y[0].iter().map(|y| of(*y)).sum::<f32>()))
/// #     }
/// # }
/// fame_core::register!(Loss: Total);
/// ```
///
/// What stands behind a parameter's type is its default:
///
/// | default | as typed | as resolved |
/// | --- | --- | --- |
/// | an expression | the type | the type |
/// | `open` | an `Option` | the type; [`Plugin::resolve`](crate::registry::Plugin::resolve) says which value |
/// | `hint` | an `Option` | not there: it only helps to resolve the others |
///
/// The macro writes the struct that the recipe's text is read into (serde refuses unknown fields,
/// and the JSON schema has every docstring), a struct called `Resolved` in the same module, without
/// any `Option` of its making, and `or`, which turns the one into the other: it takes a value for
/// each open parameter, in their order, and prefers what the recipe says.
#[macro_export]
macro_rules! parameters {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident { $($fields:tt)* }
    ) => {
        $crate::parameters! {
            @ [$(#[$doc])*] $vis $name
            typed {} defaults {} resolved {} open {} constant {}
            $($fields)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } resolved { $($resolved:tt)* }
        open { $($open:tt)* } constant { $($constant:tt)* }
        $(#[$about:meta])* $field:ident: $kind:ty = open, $($rest:tt)*
    ) => {
        $crate::parameters! {
            @ [$($doc)*] $vis $name
            typed { $($typed)* $(#[$about])* pub $field: Option<$kind>, }
            defaults { $($defaults)* $field: None, }
            resolved { $($resolved)* $(#[$about])* pub $field: $kind, }
            open { $($open)* $field: $kind, } constant { $($constant)* }
            $($rest)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } resolved { $($resolved:tt)* }
        open { $($open:tt)* } constant { $($constant:tt)* }
        $(#[$about:meta])* $field:ident: $kind:ty = hint, $($rest:tt)*
    ) => {
        $crate::parameters! {
            @ [$($doc)*] $vis $name
            typed { $($typed)* $(#[$about])* pub $field: Option<$kind>, }
            defaults { $($defaults)* $field: None, }
            resolved { $($resolved)* }
            open { $($open)* } constant { $($constant)* }
            $($rest)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } resolved { $($resolved:tt)* }
        open { $($open:tt)* } constant { $($constant:tt)* }
        $(#[$about:meta])* $field:ident: $kind:ty = $default:expr, $($rest:tt)*
    ) => {
        $crate::parameters! {
            @ [$($doc)*] $vis $name
            typed { $($typed)* $(#[$about])* pub $field: $kind, }
            defaults { $($defaults)* $field: $default, }
            resolved { $($resolved)* $(#[$about])* pub $field: $kind, }
            open { $($open)* } constant { $($constant)* $field, }
            $($rest)*
        }
    };
    (
        @ [$($doc:tt)*] $vis:vis $name:ident
        typed { $($typed:tt)* } defaults { $($defaults:tt)* } resolved { $($resolved:tt)* }
        open { $($open:ident: $kind:ty,)* } constant { $($constant:ident,)* }
    ) => {
        $($doc)*
        #[derive(Clone, Debug, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        $vis struct $name { $($typed)* }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($defaults)* }
            }
        }

        impl $name {
            /// These parameters, with a value for each one that was left open.
            #[allow(clippy::too_many_arguments)]
            fn or(self, $($open: $kind),*) -> Resolved {
                Resolved {
                    $($constant: self.$constant,)*
                    $($open: self.$open.unwrap_or($open),)*
                }
            }
        }

        #[doc = concat!("The parameters of [`", stringify!($name), "`] with every default filled in.")]
        #[derive(Clone, Debug, ::serde::Serialize)]
        $vis struct Resolved { $($resolved)* }
    };
}
