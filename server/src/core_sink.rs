//! Where the edges put what they hear: the core, as far as links are concerned.

use replica::Input;

/// Takes inputs to the core. Implemented by the core loop, and by a list in tests.
pub trait CoreSink: Clone + 'static {
    /// Lets the core handle `inputs` in order and carries out what it answers; leaves the vector empty, so that the
    /// caller can fill it again.
    ///
    /// Called from tasks only, never from within a call of a link: the core sends on links while it carries out
    /// outputs, and must not be entered a second time.
    fn inputs(&self, inputs: &mut Vec<Input>);
}
