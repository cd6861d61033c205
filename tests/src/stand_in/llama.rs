//! A language model, by the public C interface of llama.cpp (`llama.h`).

use std::{
    ffi::{CString, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use libloading::{Library, Symbol};

use super::ggml::Ggml;

/// Is a handle of llama.cpp to a model, its words, or a context.
type Handle = *mut c_void;

/// Most tokens of a prompt.
const PROMPT_MAX: usize = 256;

/// Is one of llama.cpp's two structures of parameters, of which only its own defaults are used.
///
/// Both are larger than two registers, so by the calling convention of x86-64 they are returned in
/// memory that the caller gives, and passed as the last thing on the stack: more room than either
/// needs is all that this type has to be, whatever the fields of a version are.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters([u64; 64]);

/// Is a `llama_batch`: a count and six pointers.
#[repr(C)]
#[derive(Clone, Copy)]
struct Batch([u64; 7]);

/// What kept a model from being loaded, or from speaking.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no llama.cpp, or one without a function.
    #[error("opening llama.cpp: {0}")]
    Library(#[from] libloading::Error),
    /// llama.cpp has said why.
    #[error("error loading model {0}")]
    Load(String),
    /// The prompt is longer than [`PROMPT_MAX`], or empty.
    #[error("the prompt is {0} bytes long: no tokens, or too many")]
    Prompt(usize),
    /// llama.cpp has said why.
    #[error("llama_decode answered {0}")]
    Decode(c_int),
}

/// Is a loaded model, on the GPU if there was one.
#[derive(Debug)]
pub struct Llama {
    library: Library,
    // Holds the libraries open that have the backends.
    _ggml: Ggml,
    context: Handle,
    words: Handle,
}

// SAFETY: llama.cpp ties neither a model nor a context to a thread; that one thread at a time uses
// them is what `&mut self` says.
unsafe impl Send for Llama {}

impl Llama {
    /// Loads a model with all layers on the GPU, and llama.cpp's own defaults, from the libraries
    /// in `directory` and the backends that llama-server would load.
    ///
    /// # Errors
    /// If a library or the model cannot be loaded.
    pub fn load(directory: &Path, model: &Path) -> Result<Self, Error> {
        type Defaults = unsafe extern "C" fn() -> Parameters;
        type Load = unsafe extern "C" fn(*const c_char, Parameters) -> Handle;
        type Init = unsafe extern "C" fn(Handle, Parameters) -> Handle;
        let ggml = Ggml::open(directory)?;
        ggml.load_all()?;
        // SAFETY: loading llama.cpp runs no code that touches this program's state.
        let library = unsafe { Library::new(directory.join("libllama.so"))? };
        let failed = || Error::Load(model.display().to_string());
        let path = CString::new(model.as_os_str().as_bytes()).map_err(|_| failed())?;
        // SAFETY: the types are those of llama.h, see `Parameters`; the path ends with a zero and
        // outlives the call; no handle is used that is null.
        let (context, words) = unsafe {
            let defaults: Symbol<Defaults> = library.get(b"llama_model_default_params")?;
            let model = library.get::<Load>(b"llama_model_load_from_file")?;
            let model = model(path.as_ptr(), defaults());
            if model.is_null() {
                return Err(failed());
            }
            let defaults: Symbol<Defaults> = library.get(b"llama_context_default_params")?;
            let context = library.get::<Init>(b"llama_init_from_model")?(model, defaults());
            if context.is_null() {
                return Err(failed());
            }
            let words: Symbol<unsafe extern "C" fn(Handle) -> Handle> =
                library.get(b"llama_model_get_vocab")?;
            (context, words(model))
        };
        Ok(Self { library, _ggml: ggml, context, words })
    }

    /// Says so many tokens after a prompt, each the likeliest, and gives each to `tell` with its
    /// text; stops early if that answers `false`.
    ///
    /// # Errors
    /// If llama.cpp refuses the prompt or a step. A fault of the GPU ends the process.
    pub fn speak(
        &mut self,
        prompt: &str,
        count: u64,
        mut tell: impl FnMut(c_int, &str) -> bool,
    ) -> Result<(), Error> {
        let mut tokens = self.tokens(prompt)?;
        self.forget()?;
        for _ in 0..count {
            let token = self.step(&mut tokens)?;
            if !tell(token, &self.text(token)?) {
                break;
            }
            tokens = vec![token];
        }
        Ok(())
    }

    /// Reads the prompt.
    fn tokens(&self, text: &str) -> Result<Vec<c_int>, Error> {
        type Tokenize = unsafe extern "C" fn(
            Handle,
            *const c_char,
            c_int,
            *mut c_int,
            c_int,
            bool,
            bool,
        ) -> c_int;
        let mut tokens = vec![0; PROMPT_MAX];
        let refused = || Error::Prompt(text.len());
        let length = c_int::try_from(text.len()).map_err(|_| refused())?;
        // SAFETY: the type is that of llama.h; text and tokens are given with their lengths.
        let count = unsafe {
            let tokenize: Symbol<Tokenize> = self.library.get(b"llama_tokenize")?;
            let (start, room) = (tokens.as_mut_ptr(), PROMPT_MAX as c_int);
            tokenize(self.words, text.as_ptr().cast(), length, start, room, false, false)
        };
        // A negative count is that of a prompt with too many.
        tokens.truncate(usize::try_from(count).unwrap_or(0));
        if tokens.is_empty() { Err(refused()) } else { Ok(tokens) }
    }

    /// Forgets what was said before.
    fn forget(&mut self) -> Result<(), Error> {
        // SAFETY: the types are those of llama.h, and the context is llama.cpp's own.
        unsafe {
            let memory: Symbol<unsafe extern "C" fn(Handle) -> Handle> =
                self.library.get(b"llama_get_memory")?;
            let clear: Symbol<unsafe extern "C" fn(Handle, bool)> =
                self.library.get(b"llama_memory_clear")?;
            clear(memory(self.context), true);
        }
        Ok(())
    }

    /// Computes the tokens; answers the likeliest next one.
    fn step(&mut self, tokens: &mut [c_int]) -> Result<c_int, Error> {
        type One = unsafe extern "C" fn(*mut c_int, c_int) -> Batch;
        type Decode = unsafe extern "C" fn(Handle, Batch) -> c_int;
        type Logits = unsafe extern "C" fn(Handle, c_int) -> *const f32;
        // SAFETY: the types are those of llama.h; the tokens outlive the call that reads them; of
        // the last token's logits there is one for each word, until the next step.
        let logits = unsafe {
            let one: Symbol<One> = self.library.get(b"llama_batch_get_one")?;
            let batch = one(tokens.as_mut_ptr(), tokens.len() as c_int);
            let refused = self.library.get::<Decode>(b"llama_decode")?(self.context, batch);
            if refused != 0 {
                return Err(Error::Decode(refused));
            }
            let logits = self.library.get::<Logits>(b"llama_get_logits_ith")?(self.context, -1);
            let count: Symbol<unsafe extern "C" fn(Handle) -> c_int> =
                self.library.get(b"llama_vocab_n_tokens")?;
            if logits.is_null() {
                return Err(Error::Decode(0));
            }
            std::slice::from_raw_parts(logits, usize::try_from(count(self.words)).unwrap_or(0))
        };
        let best = logits.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
        Ok(best.map_or(0, |(token, _)| token as c_int))
    }

    /// Is a token's text; what is no UTF-8 by itself is replaced.
    fn text(&self, token: c_int) -> Result<String, Error> {
        type Text = unsafe extern "C" fn(Handle, c_int, *mut c_char, c_int, c_int, bool) -> c_int;
        let mut text = [0_u8; 64];
        // SAFETY: the type is that of llama.h; the text is given with its length.
        let length = unsafe {
            let piece: Symbol<Text> = self.library.get(b"llama_token_to_piece")?;
            piece(self.words, token, text.as_mut_ptr().cast(), text.len() as c_int, 0, true)
        };
        let length = usize::try_from(length).unwrap_or(0).min(text.len());
        Ok(String::from_utf8_lossy(&text[..length]).into_owned())
    }
}
