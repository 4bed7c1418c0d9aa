//! The hook for a terminology service: asked where the packages cannot tell, as of SNOMED CT and dm+d.

/// A coded value that the packages cannot tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked<'q> {
    /// Canonical URL of the value set; absent: is it a code of its system at all?
    pub value_set: Option<&'q str>,
    /// The code system; absent for an element of type `code`.
    pub system: Option<&'q str>,
    /// The code.
    pub code: &'q str,
    /// `Coding.version`
    pub version: Option<&'q str>,
}

/// Somebody who knows more code systems than the packages hold. Asked during a judgement, again for every element: it keeps its
/// answers and bounds its own waiting.
pub trait TerminologyService: Send + Sync {
    /// Whether the code is a member; nothing when the service cannot tell, or cannot be reached: then the finding says that it
    /// was not evaluated.
    fn is_member(&self, asked: &Asked<'_>) -> Option<bool>;
}

impl<T: TerminologyService + ?Sized> TerminologyService for std::sync::Arc<T> {
    fn is_member(&self, asked: &Asked<'_>) -> Option<bool> {
        (**self).is_member(asked)
    }
}
