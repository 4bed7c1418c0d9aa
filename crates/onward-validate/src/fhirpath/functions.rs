//! The functions by name: FHIRPath N1 §5, those of later drafts that the official suite uses, and FHIR R4's own (§2.9.1.3).

macro_rules! functions {
    ($($variant:ident $name:literal $least:literal $most:literal;)*) => {
        /// A function that an expression may call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function {
            $(#[doc = $name] $variant,)*
        }

        impl Function {
            /// The function of a name.
            pub(super) fn of_name(name: &str) -> Option<Self> {
                match name {
                    // As STU3's txt-1 spells it.
                    "htmlchecks" => Some(Self::HtmlChecks),
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The fewest and the most arguments that it takes.
            pub(super) fn arguments(self) -> (usize, usize) {
                match self {
                    $(Self::$variant => ($least, $most),)*
                }
            }
        }
    };
}

functions! {
    Empty "empty" 0 0;
    Exists "exists" 0 1;
    All "all" 1 1;
    AllTrue "allTrue" 0 0;
    AnyTrue "anyTrue" 0 0;
    AllFalse "allFalse" 0 0;
    AnyFalse "anyFalse" 0 0;
    SubsetOf "subsetOf" 1 1;
    SupersetOf "supersetOf" 1 1;
    Count "count" 0 0;
    Distinct "distinct" 0 0;
    IsDistinct "isDistinct" 0 0;
    Not "not" 0 0;
    Where "where" 1 1;
    Select "select" 1 1;
    Repeat "repeat" 1 1;
    Single "single" 0 0;
    First "first" 0 0;
    Last "last" 0 0;
    Tail "tail" 0 0;
    Skip "skip" 1 1;
    Take "take" 1 1;
    Intersect "intersect" 1 1;
    Exclude "exclude" 1 1;
    Union "union" 1 1;
    Combine "combine" 1 1;
    Iif "iif" 2 3;
    Aggregate "aggregate" 1 2;
    Sort "sort" 0 8;
    ToBoolean "toBoolean" 0 0;
    ToInteger "toInteger" 0 0;
    ToDecimal "toDecimal" 0 0;
    ToDate "toDate" 0 0;
    ToDateTime "toDateTime" 0 0;
    ToTime "toTime" 0 0;
    ToString "toString" 0 0;
    ToQuantity "toQuantity" 0 1;
    ConvertsToBoolean "convertsToBoolean" 0 0;
    ConvertsToInteger "convertsToInteger" 0 0;
    ConvertsToDecimal "convertsToDecimal" 0 0;
    ConvertsToDate "convertsToDate" 0 0;
    ConvertsToDateTime "convertsToDateTime" 0 0;
    ConvertsToTime "convertsToTime" 0 0;
    ConvertsToString "convertsToString" 0 0;
    ConvertsToQuantity "convertsToQuantity" 0 1;
    IndexOf "indexOf" 1 1;
    LastIndexOf "lastIndexOf" 1 1;
    Substring "substring" 1 2;
    StartsWith "startsWith" 1 1;
    EndsWith "endsWith" 1 1;
    Contains "contains" 1 1;
    Upper "upper" 0 0;
    Lower "lower" 0 0;
    Replace "replace" 2 2;
    Matches "matches" 1 1;
    MatchesFull "matchesFull" 1 1;
    ReplaceMatches "replaceMatches" 2 2;
    Length "length" 0 0;
    ToChars "toChars" 0 0;
    Trim "trim" 0 0;
    Split "split" 1 1;
    Join "join" 0 1;
    Encode "encode" 1 1;
    Decode "decode" 1 1;
    Escape "escape" 1 1;
    Unescape "unescape" 1 1;
    Abs "abs" 0 0;
    Ceiling "ceiling" 0 0;
    Exp "exp" 0 0;
    Floor "floor" 0 0;
    Ln "ln" 0 0;
    Log "log" 1 1;
    Power "power" 1 1;
    Round "round" 0 1;
    Sqrt "sqrt" 0 0;
    Truncate "truncate" 0 0;
    Children "children" 0 0;
    Descendants "descendants" 0 0;
    Trace "trace" 1 2;
    Now "now" 0 0;
    Today "today" 0 0;
    TimeOfDay "timeOfDay" 0 0;
    Type "type" 0 0;
    LowBoundary "lowBoundary" 0 1;
    HighBoundary "highBoundary" 0 1;
    Precision "precision" 0 0;
    Comparable "comparable" 1 1;
    Extension "extension" 1 1;
    HasValue "hasValue" 0 0;
    GetValue "getValue" 0 0;
    Resolve "resolve" 0 0;
    MemberOf "memberOf" 1 1;
    ConformsTo "conformsTo" 1 1;
    HtmlChecks "htmlChecks" 0 0;
    Subsumes "subsumes" 1 1;
    SubsumedBy "subsumedBy" 1 1;
    ElementDefinition "elementDefinition" 0 0;
    Slice "slice" 2 2;
    CheckModifiers "checkModifiers" 1 8;
}

impl Function {
    /// True when its first argument is evaluated for each item, with `$this` bound to it.
    pub(super) fn binds_this(self) -> bool {
        matches!(
            self,
            Self::Exists
                | Self::All
                | Self::Where
                | Self::Select
                | Self::Repeat
                | Self::Aggregate
                | Self::Sort
                | Self::Iif
        )
    }
}
