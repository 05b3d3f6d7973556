//! `labels!`: closed enums whose variants are metric labels and log texts.

/// Declares an enum with `ALL`, `label()` and `index()`, so that counters are arrays.
macro_rules! labels {
    ($(#[$doc:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            /// Metric label and log text.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            /// Place in `ALL`, and in arrays of counters.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use labels;
