//! The compiled form of an expression. Chains are flat lists, so that its depth is that of the written nesting only.

use regex::Regex;

use super::decimal::Decimal;
use super::functions::Function;
use super::quantity::Quantity;
use super::temporal::Temporal;
use super::types::TypeName;

#[derive(Debug)]
pub(super) enum Node {
    /// `{}`
    Empty,
    Literal(Literal),
    /// `%name`
    Variable(Box<str>),
    This,
    Index,
    Total,
    Path(Box<Path>),
    /// `a + b - c`: operators of one precedence, from left to right.
    Operators {
        first: Box<Node>,
        rest: Vec<(Operator, Node)>,
    },
    /// `a is B`, `a as B`
    Type {
        operand: Box<Node>,
        function: TypeFunction,
        name: TypeName,
    },
    /// `-a`, `+a`
    Sign {
        negative: bool,
        operand: Box<Node>,
    },
    /// What does not depend on the item that a function looks at: evaluated once, however many items there are.
    /// `of_resource`: nor on anything else but the resource, so that it is the same for all of its elements.
    Constant {
        slot: usize,
        of_resource: bool,
        node: Box<Node>,
    },
}

#[derive(Debug)]
pub(super) enum Literal {
    Boolean(bool),
    Integer(i64),
    Decimal(Decimal),
    String(Box<str>),
    Temporal(Temporal),
    Quantity(Quantity<'static>),
}

/// A term and what is asked of it.
#[derive(Debug)]
pub(super) struct Path {
    /// `None` when the first step is asked of `$this`.
    pub(super) head: Option<Node>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Step {
    Child(Box<str>),
    Call(Call),
    Type(TypeFunction, TypeName),
    Index(Node),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) arguments: Vec<Node>,
    /// Of a pattern written in the expression; `Some(None)` when it is not one that can be matched in linear time.
    pub(super) pattern: Option<Option<Regex>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeFunction {
    Is,
    As,
    OfType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Implies,
    Or,
    Xor,
    And,
    In,
    Contains,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Union,
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    Div,
    Mod,
}

/// Precedence of `is` and `as`.
pub(super) const TYPE_LEVEL: u8 = 8;

impl Operator {
    /// Precedence (FHIRPath §6.8): what binds closer is higher.
    pub(super) fn level(self) -> u8 {
        match self {
            Self::Implies => 1,
            Self::Or | Self::Xor => 2,
            Self::And => 3,
            Self::In | Self::Contains => 4,
            Self::Equal | Self::NotEqual | Self::Equivalent | Self::NotEquivalent => 5,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 6,
            Self::Union => 7,
            Self::Add | Self::Subtract | Self::Concatenate => 9,
            Self::Multiply | Self::Divide | Self::Div | Self::Mod => 10,
        }
    }

    pub(super) fn of_text(text: &str) -> Option<Self> {
        Some(match text {
            "implies" => Self::Implies,
            "or" => Self::Or,
            "xor" => Self::Xor,
            "and" => Self::And,
            "in" => Self::In,
            "contains" => Self::Contains,
            "=" => Self::Equal,
            "!=" => Self::NotEqual,
            "~" => Self::Equivalent,
            "!~" => Self::NotEquivalent,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "|" => Self::Union,
            "+" => Self::Add,
            "-" => Self::Subtract,
            "&" => Self::Concatenate,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "div" => Self::Div,
            "mod" => Self::Mod,
            _ => return None,
        })
    }
}
