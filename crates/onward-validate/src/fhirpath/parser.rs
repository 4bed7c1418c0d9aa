//! Tokens into a tree (FHIRPath N1 grammar, Appendix B). Names of functions and patterns are resolved here, once.

use regex::{Regex, RegexBuilder};

use super::SyntaxError;
use super::constants;
use super::functions::Function;
use super::lexer::{self, Token};
use super::quantity::{CalendarUnit, Quantity, Unit};
use super::syntax::{Call, Literal, Node, Operator, Path, Step, TYPE_LEVEL, TypeFunction};
use super::types::{Namespace, TypeName};

/// The longest expression that is read, in bytes. FHIR's own longest has about 3,000.
const LENGTH_MAX: usize = 64 << 10;
/// The deepest nesting. Both parser and evaluation recurse by it, so it bounds the stack.
const DEPTH_MAX: usize = 48;
/// How often `is` and `as` may follow each other without parentheses.
const TYPE_TESTS_MAX: usize = 4;
/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The tree of an expression, and how many constants it holds.
pub(super) fn parse(source: &str) -> Result<(Node, usize), SyntaxError> {
    if source.len() > LENGTH_MAX {
        return Err(SyntaxError::at(0, "the expression is too long"));
    }
    let mut parser = Parser { tokens: lexer::tokens(source)?, at: 0, depth: 0, end: source.len() };
    let mut node = parser.expression(0)?;
    if parser.at < parser.tokens.len() {
        return parser.fail("an operator or the end is expected here");
    }
    let slots = constants::mark(&mut node);
    Ok((node, slots))
}

/// A pattern in the dialect of FHIRPath: `.` matches line ends (§5.6.9).
pub(super) fn pattern(text: &str, whole: bool) -> Option<Regex> {
    let anchored;
    let text = if whole {
        anchored = format!("^(?:{text})$");
        &anchored
    } else {
        text
    };
    RegexBuilder::new(text).dot_matches_new_line(true).size_limit(PATTERN_BYTES_MAX).build().ok()
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(offset, _)| *offset)
    }

    fn fail<T>(&self, reason: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError::at(self.offset(), reason))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek()?.clone();
        self.at += 1;
        Some(token)
    }

    fn is_at(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is_at(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str, reason: &'static str) -> Result<(), SyntaxError> {
        if self.take(symbol) { Ok(()) } else { self.fail(reason) }
    }

    /// What stands between operators of at least this level, and those operators.
    fn expression(&mut self, least: u8) -> Result<Node, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return self.fail("the expression is nested too deep");
        }
        self.depth += 1;
        let mut left = self.signed()?;
        let mut type_tests = 0;
        loop {
            let (text, is_word) = match self.peek() {
                Some(Token::Symbol(symbol)) => (*symbol, false),
                Some(Token::Word(word)) => (&**word, true),
                _ => break,
            };
            let function = match text {
                "is" => Some(TypeFunction::Is),
                "as" => Some(TypeFunction::As),
                _ => None,
            };
            if let Some(function) = function.filter(|_| is_word) {
                if TYPE_LEVEL < least {
                    break;
                }
                if type_tests == TYPE_TESTS_MAX {
                    return self.fail("too many types are asked for");
                }
                type_tests += 1;
                self.at += 1;
                left = Node::Type { operand: Box::new(left), function, name: self.type_name()? };
                continue;
            }
            let Some(operator) = Operator::of_text(text).filter(|operator| operator.level() >= least) else { break };
            self.at += 1;
            let right = self.expression(operator.level() + 1)?;
            left = match left {
                Node::Operators { first, mut rest } if rest[0].0.level() == operator.level() => {
                    rest.push((operator, right));
                    Node::Operators { first, rest }
                }
                other => Node::Operators { first: Box::new(other), rest: vec![(operator, right)] },
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn signed(&mut self) -> Result<Node, SyntaxError> {
        let (mut signs, mut negative) = (0, false);
        loop {
            if self.take("-") {
                negative = !negative;
            } else if !self.take("+") {
                break;
            }
            signs += 1;
        }
        let operand = self.invocations()?;
        Ok(if signs == 0 { operand } else { Node::Sign { negative, operand: Box::new(operand) } })
    }

    /// A term with everything that is asked of it.
    fn invocations(&mut self) -> Result<Node, SyntaxError> {
        let (mut head, mut steps) = match self.peek() {
            Some(Token::Word(word)) if !matches!(&**word, "true" | "false") => (None, vec![self.step()?]),
            Some(Token::Delimited(_)) => (None, vec![self.step()?]),
            _ => (Some(self.term()?), Vec::new()),
        };
        loop {
            if self.take(".") {
                // `$this` and its kin may stand after a point in the grammar; nothing uses that.
                steps.push(self.step()?);
            } else if self.take("[") {
                steps.push(Step::Index(self.expression(0)?));
                self.expect("]", "`]` is expected here")?;
            } else {
                break;
            }
        }
        if steps.is_empty()
            && let Some(head) = head.take()
        {
            return Ok(head);
        }
        Ok(Node::Path(Box::new(Path { head, steps })))
    }

    fn term(&mut self) -> Result<Node, SyntaxError> {
        let start = self.offset();
        let Some(token) = self.next() else { return self.fail("the expression ends too early") };
        Ok(match token {
            Token::Symbol("(") => {
                let inner = self.expression(0)?;
                self.expect(")", "`)` is expected here")?;
                inner
            }
            Token::Symbol("{") => {
                self.expect("}", "`}` is expected here")?;
                Node::Empty
            }
            Token::Word(word) => Node::Literal(Literal::Boolean(&*word == "true")),
            Token::String(text) => Node::Literal(Literal::String(text)),
            Token::Temporal(temporal) => Node::Literal(Literal::Temporal(temporal)),
            Token::Integer(value) => Node::Literal(match self.unit() {
                Some(unit) => Literal::Quantity(Quantity { value: value.into(), unit }),
                None => Literal::Integer(value),
            }),
            Token::Decimal(value) => Node::Literal(match self.unit() {
                Some(unit) => Literal::Quantity(Quantity { value, unit }),
                None => Literal::Decimal(value),
            }),
            Token::Variable(name) => Node::Variable(name),
            Token::Special(name) => match &*name {
                "this" => Node::This,
                "index" => Node::Index,
                "total" => Node::Total,
                _ => return Err(SyntaxError::at(start, "`$this`, `$index` or `$total` is expected here")),
            },
            Token::Delimited(_) | Token::Symbol(_) => {
                return Err(SyntaxError::at(start, "a value, a name or `(` is expected here"));
            }
        })
    }

    /// The unit after a number, if there is one.
    fn unit(&mut self) -> Option<Unit<'static>> {
        let unit = match self.peek()? {
            Token::String(code) => Unit::Ucum(code.to_string().into()),
            Token::Word(word) => Unit::Calendar(CalendarUnit::of_word(word)?),
            _ => return None,
        };
        self.at += 1;
        Some(unit)
    }

    fn name(&mut self) -> Result<Box<str>, SyntaxError> {
        match self.peek() {
            Some(Token::Word(name) | Token::Delimited(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.fail("a name is expected here"),
        }
    }

    fn type_name(&mut self) -> Result<TypeName, SyntaxError> {
        let first = self.name()?;
        if !self.is_at(".") {
            return Ok(TypeName { namespace: None, name: first });
        }
        // `x is System.Boolean`; but in `x as Quantity.value` the type ends at the point.
        let namespace = match &*first {
            "System" => Namespace::System,
            "FHIR" => Namespace::Fhir,
            _ => return Ok(TypeName { namespace: None, name: first }),
        };
        self.at += 1;
        Ok(TypeName { namespace: Some(namespace), name: self.name()? })
    }

    /// A child's name or a call.
    fn step(&mut self) -> Result<Step, SyntaxError> {
        let start = self.offset();
        let name = self.name()?;
        if !self.take("(") {
            return Ok(Step::Child(name));
        }
        let type_function = match &*name {
            "is" => Some(TypeFunction::Is),
            "as" => Some(TypeFunction::As),
            "ofType" => Some(TypeFunction::OfType),
            _ => None,
        };
        if let Some(function) = type_function {
            let name = self.type_name()?;
            self.expect(")", "`)` is expected here")?;
            return Ok(Step::Type(function, name));
        }
        let Some(function) = Function::of_name(&name) else {
            return Err(SyntaxError::at(start, "there is no such function"));
        };
        let mut arguments = Vec::new();
        if !self.take(")") {
            loop {
                arguments.push(self.expression(0)?);
                if self.take(")") {
                    break;
                }
                self.expect(",", "`,` or `)` is expected here")?;
            }
        }
        let (least, most) = function.arguments();
        if !(least..=most).contains(&arguments.len()) {
            return Err(SyntaxError::at(start, "the function takes another number of arguments"));
        }
        let pattern = match (function, arguments.first()) {
            (
                Function::Matches | Function::MatchesFull | Function::ReplaceMatches,
                Some(Node::Literal(Literal::String(text))),
            ) => Some(pattern(text, function == Function::MatchesFull)),
            _ => None,
        };
        Ok(Step::Call(Call { function, arguments, pattern }))
    }
}
