//! The grammar by which people name jobs: ids, their beginnings, and words such as `queue:slow` or `state:dead,failed`.
//!
//! Jobs named by id are united; filters of one kind are united; different kinds are intersected.
//! Knows what a job looks like, and nothing of where jobs are kept or what is to be done with them.

use std::collections::HashSet;

use super::job::{Job, JobId, JobState, SELECTOR_WORDS, UnknownState};
use super::suggest::closest;

/// One word of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// An id, or the beginning of a generated one.
    Plain(String),
    /// The same, said to be one: `id:X`.
    Id(String),
    /// The job that was enqueued last: `@last`.
    Last,
    /// Jobs of this name: `name:N`.
    Name(String),
    /// Jobs with this tag: `tag:T`.
    Tag(String),
    /// Jobs of this queue: `queue:Q`.
    Queue(String),
    /// Jobs in one of these states: `state:S[,S]`.
    State(Vec<JobState>),
    /// Every job: `all`.
    All,
}

/// Why a selector cannot be read, or names no single job where it must.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// Nothing stands behind the colon, or the text is empty.
    #[error("{0:?} selects nothing")]
    Empty(String),
    /// A word behind `@` other than `last`.
    #[error(
        "unknown selector {0:?}; the selectors are ID, id:ID, @last, name:N, tag:T, queue:Q, state:S, all"
    )]
    Unknown(String),
    /// A state that is none.
    #[error(transparent)]
    State(#[from] UnknownState),
    /// No job has this id, nor one that begins so.
    #[error("no such job: {0}")]
    NoSuchJob(String),
    /// There is no job at all.
    #[error("the queue has no jobs")]
    NoJobs,
    /// Several generated ids begin so, or several nodes have a job with this id.
    #[error("{prefix} may be {count} jobs: {}", candidates.join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many ids begin so.
        count: usize,
        /// The first few of them.
        candidates: Vec<String>,
    },
}

impl SelectorError {
    /// Whether the words are wrong whatever the queue holds.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Empty(_) | Self::Unknown(_) | Self::State(_))
    }

    /// The state that may have been meant.
    pub fn suggestion(&self) -> Option<&'static str> {
        match self {
            Self::State(UnknownState(word)) => closest(word, JobState::ALL.map(JobState::name)),
            _ => None,
        }
    }
}

impl Term {
    /// Reads one word.
    ///
    /// Errors: an unknown state, an unknown `@` word, nothing behind a colon.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.is_empty() {
            return Err(SelectorError::Empty(text.into()));
        }
        match text.split_once(':') {
            Some((word, rest)) if SELECTOR_WORDS.contains(&word) => match rest {
                "" => Err(SelectorError::Empty(text.into())),
                _ => Self::of_word(word, rest),
            },
            _ if text == "all" => Ok(Term::All),
            _ if text == "@last" => Ok(Term::Last),
            _ if text.starts_with('@') => Err(SelectorError::Unknown(text.into())),
            _ => Ok(Term::Plain(text.into())),
        }
    }

    fn of_word(word: &str, rest: &str) -> Result<Self, SelectorError> {
        Ok(match word {
            "id" => Term::Id(rest.into()),
            "name" => Term::Name(rest.into()),
            "tag" => Term::Tag(rest.into()),
            "queue" => Term::Queue(rest.into()),
            _ => Term::State(parse_states(rest)?),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Term::Plain(_) | Term::Id(_) | Term::Last => Kind::Id,
            Term::Name(_) => Kind::Name,
            Term::Tag(_) => Kind::Tag,
            Term::Queue(_) => Kind::Queue,
            Term::State(_) => Kind::State,
            Term::All => Kind::All,
        }
    }

    fn matches(&self, job: &Job) -> bool {
        match self {
            Term::Plain(_) | Term::Id(_) | Term::Last => false,
            Term::Name(name) => job.spec.name.as_ref() == Some(name),
            Term::Tag(tag) => job.spec.tags.contains(tag),
            Term::Queue(queue) => *job.spec.queue == **queue,
            Term::State(states) => states.contains(&job.state),
            Term::All => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Id,
    Name,
    Tag,
    Queue,
    State,
    All,
}

/// Reads states separated by commas, in any case.
///
/// Errors: a word that is none of the six.
pub fn parse_states(text: &str) -> Result<Vec<JobState>, UnknownState> {
    text.split(',').map(|word| word.trim().parse()).collect()
}

/// What a command's words and options select.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    terms: Vec<Term>,
    narrowing: Vec<Term>,
}

/// A job, behind the node that owns it.
pub type Owned<'a> = (&'a str, &'a Job);

/// The jobs a selector takes.
#[derive(Debug)]
pub struct Selected<'a> {
    /// In order of creation, each once.
    pub jobs: Vec<Owned<'a>>,
    named: HashSet<(&'a str, &'a JobId)>,
}

impl Selected<'_> {
    /// Whether the job was named by its id, so that it must be one the verb applies to.
    pub fn is_named(&self, node: &str, id: &JobId) -> bool {
        self.named.contains(&(node, id))
    }
}

impl Selector {
    /// Reads the words of a selector.
    ///
    /// Errors: those of [`Term::parse`].
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, SelectorError> {
        let terms = words.into_iter().map(Term::parse).collect::<Result<_, _>>()?;
        Ok(Selector { terms, narrowing: Vec::new() })
    }

    /// Narrows what is selected by what an option says; options of one kind are united.
    pub fn narrow(mut self, term: Term) -> Self {
        self.narrowing.push(term);
        self
    }

    /// Whether it names nothing at all, which a verb may take as everything or as a mistake.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.narrowing.is_empty()
    }

    /// Whether it has plain ids only, so that it cannot take more than the person wrote down.
    pub fn is_plain(&self) -> bool {
        let mut terms = self.terms.iter();
        !self.terms.is_empty() && terms.all(|term| matches!(term, Term::Plain(_) | Term::Id(_)))
    }

    /// Whether it says `all`.
    pub fn is_all(&self) -> bool {
        self.terms.contains(&Term::All)
    }

    /// Whether it names this state.
    pub fn names_state(&self, state: JobState) -> bool {
        let mut terms = self.terms.iter().chain(&self.narrowing);
        terms.any(|term| matches!(term, Term::State(states) if states.contains(&state)))
    }

    /// Whether a job that is not named by id is selected by the filters.
    fn admits(&self, job: &Job) -> bool {
        agrees(&self.terms, job) && agrees(&self.narrowing, job)
    }

    /// Takes the jobs it selects out of `jobs`, which come in order of creation; `get` finds those with a whole id.
    ///
    /// Errors: an id that no job has, or that is the beginning of several.
    pub fn select<'a, I>(
        &self,
        jobs: impl Fn() -> I,
        get: impl Fn(&JobId) -> Vec<Owned<'a>>,
    ) -> Result<Selected<'a>, SelectorError>
    where
        I: Iterator<Item = Owned<'a>>,
    {
        let ids: Vec<&Term> = self.terms.iter().filter(|term| term.kind() == Kind::Id).collect();
        if ids.is_empty() {
            let jobs = jobs().filter(|(_, job)| self.admits(job)).collect();
            return Ok(Selected { jobs, named: HashSet::new() });
        }
        let mut named = HashSet::new();
        let mut found: Vec<Owned> = Vec::new();
        for term in ids {
            let (node, job) = match term {
                Term::Plain(text) | Term::Id(text) => resolve(text, &jobs, &get)?,
                _ => jobs().last().ok_or(SelectorError::NoJobs)?,
            };
            if named.insert((node, job.id())) && self.admits(job) {
                found.push((node, job));
            }
        }
        match found.iter().all(|(node, _)| *node == found[0].0) {
            true => found.sort_by_key(|(_, job)| job.order),
            false => found.sort_by_key(|(node, job)| (job.created_at, *node, job.order)),
        }
        Ok(Selected { jobs: found, named })
    }
}

/// Whether each kind of filter among the terms has one that matches.
fn agrees(terms: &[Term], job: &Job) -> bool {
    let filters = || terms.iter().filter(|term| term.kind() != Kind::Id);
    filters().all(|term| {
        let mut of_this_kind = filters().filter(|other| other.kind() == term.kind());
        of_this_kind.any(|other| other.matches(job))
    })
}

/// The fewest characters that stand for a generated id.
const SHORTEST_PREFIX: usize = 6;

/// The length of a generated id, a ULID.
const GENERATED: usize = 26;

/// How many candidates an ambiguous beginning is answered with.
const CANDIDATES: usize = 8;

/// Finds the job that `text` names: by its whole id, by the beginning of a generated one in any case, or by `id@node`.
///
/// Errors: where no job has that id, or several have it or begin so.
pub fn resolve<'a, I>(
    text: &str,
    jobs: impl Fn() -> I,
    get: impl Fn(&JobId) -> Vec<Owned<'a>>,
) -> Result<Owned<'a>, SelectorError>
where
    I: Iterator<Item = Owned<'a>>,
{
    let mut found = get(&JobId::from_log(text));
    if let (true, Some((id, owner))) = (found.is_empty(), text.rsplit_once('@')) {
        found = get(&JobId::from_log(id));
        found.retain(|(node, _)| *node == owner);
    }
    if found.is_empty() && is_prefix(text) {
        let prefix = text.to_ascii_uppercase();
        let begins_so = |(_, job): &Owned| {
            let id = job.id().as_str();
            id.len() == GENERATED && id.starts_with(&prefix) && is_base32(id)
        };
        found = jobs().filter(begins_so).collect();
    }
    match found[..] {
        [] => Err(SelectorError::NoSuchJob(text.into())),
        [one] => Ok(one),
        _ => Err(ambiguous(text, &found)),
    }
}

fn ambiguous(text: &str, found: &[Owned]) -> SelectorError {
    let same_id = found.iter().all(|(_, job)| job.id() == found[0].1.id());
    let name = |(node, job): &Owned| match same_id {
        true => format!("{}@{node}", job.id()),
        false => job.id().to_string(),
    };
    SelectorError::Ambiguous {
        prefix: text.into(),
        count: found.len(),
        candidates: found.iter().take(CANDIDATES).map(name).collect(),
    }
}

/// Whether the text may be the beginning of a generated id.
fn is_prefix(text: &str) -> bool {
    (SHORTEST_PREFIX..=GENERATED).contains(&text.len()) && is_base32(&text.to_ascii_uppercase())
}

/// Whether the text has only characters of a ULID: digits and capitals without I, L, O, U.
fn is_base32(text: &str) -> bool {
    text.bytes().all(|b| {
        b.is_ascii_digit() || b.is_ascii_uppercase() && !matches!(b, b'I' | b'L' | b'O' | b'U')
    })
}

#[cfg(test)]
mod tests;
