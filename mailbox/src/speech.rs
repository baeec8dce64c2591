//! Speech: sentences become audio by `espeak-ng`, in the background, once each.
//!
//! Decides how sentences are rendered and kept: in memory and as WAV files in the prompts folder,
//! named after what they say. Refuses to know calls; whoever asks gets the audio, or is told later.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use config::{Code, Language};
use runtime::folder;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::prompt::{Prompt, Sentence, Utterance};
use crate::resample::resample;

/// Prompts with a name in them that are kept in memory: at 5 s and two laws 80 kB each, 20 MB in all.
const MAX_KEPT: usize = 256;

/// Files that are kept in the prompts folder: at 5 s of 16-bit samples 80 kB each, 320 MB in all.
const MAX_FILES: usize = 4_096;

/// Sentences that wait to be rendered; more are answered as if there were no speech.
const MAX_WAITING: usize = 128;

/// Renderings at once: each is a process of some 20 ms.
const RENDERERS: usize = 2;

/// A rendering that takes longer is ended.
const RENDER_LIMIT: Duration = Duration::from_secs(10);

/// After a failure, nothing is rendered for this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The longest audio of one prompt, samples at 8 kHz: 60 s.
const MAX_SAMPLES: usize = 60 * 8_000;

/// Words a minute; the default of 175 is hard to follow on a telephone.
const WORDS_PER_MINUTE: &str = "165";

/// Samples quieter than this are the silence that `espeak-ng` ends with: -50 dB.
const QUIET: u16 = 100;

/// How much of that silence stays, samples at 8 kHz: 100 ms. The beep follows a greeting.
const TAIL_SAMPLES: usize = 800;

/// How far a sentence is from being audio.
#[derive(Clone, Debug)]
pub(crate) enum Spoken {
    /// Here it is.
    Ready(Arc<Prompt>),
    /// It is being rendered.
    Coming,
    /// It cannot be spoken now.
    Unavailable,
}

/// Why a sentence could not be rendered (`UM1204`).
#[derive(Debug, thiserror::Error)]
enum SpeechError {
    #[error("start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("hand the text to espeak-ng: {0}")]
    Text(io::Error),
    #[error("wait for espeak-ng: {0}")]
    Wait(io::Error),
    #[error("espeak-ng ended with {0}")]
    Failed(std::process::ExitStatus),
    #[error("espeak-ng took longer than {} s", RENDER_LIMIT.as_secs())]
    TooLong,
    #[error("read the audio: {0}")]
    Audio(#[from] hound::Error),
    #[error("keep the audio: {0}")]
    Keep(io::Error),
}

/// What is told when a sentence is ready, or has turned out not to be possible.
pub(crate) type OnSpoken = Arc<dyn Fn(&Utterance) + Send + Sync>;

/// The prompts of one server.
pub(crate) struct Speech {
    shelf: Arc<Shelf>,
    /// `None` once the server stops.
    orders: Option<SyncSender<Utterance>>,
    renderers: Vec<JoinHandle<()>>,
}

struct Shelf {
    folder: PathBuf,
    /// How many files are in it.
    files: AtomicUsize,
    program: String,
    kept: Mutex<Kept>,
    broken: AtomicBool,
    on_spoken: OnSpoken,
}

#[derive(Default)]
struct Kept {
    ready: HashMap<Utterance, Arc<Prompt>>,
    /// Those with a name in them, oldest first.
    named: VecDeque<Utterance>,
    coming: Vec<Utterance>,
    paused_until: Option<Instant>,
}

impl Kept {
    /// Keeps a prompt. What names somebody makes room for the next such one and is read from its
    /// file when it is needed again; the few others are what calls fall back on, and stay.
    fn insert(&mut self, utterance: Utterance, prompt: Arc<Prompt>) {
        match utterance.sentence {
            Sentence::Greeting { .. } => {
                if self.named.len() >= MAX_KEPT
                    && let Some(oldest) = self.named.pop_front()
                {
                    self.ready.remove(&oldest);
                }
                self.named.push_back(utterance.clone());
            }
            Sentence::GenericGreeting | Sentence::StorageFailed => {}
        }
        self.ready.insert(utterance, prompt);
    }
}

impl Speech {
    /// Opens the prompts folder and starts the threads that render. `program` is `espeak-ng`.
    ///
    /// # Errors
    /// When the folder cannot be made or a thread cannot be started.
    pub(crate) fn start(prompts: &Path, program: &str, on_spoken: OnSpoken) -> io::Result<Self> {
        folder::private(prompts)?;
        let files = AtomicUsize::new(prune(prompts)?);
        let (orders, waiting) = sync_channel(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let shelf = Arc::new(Shelf {
            folder: prompts.to_owned(),
            files,
            program: program.to_owned(),
            kept: Mutex::default(),
            broken: AtomicBool::new(false),
            on_spoken,
        });
        let renderers = (0..RENDERERS)
            .map(|index| {
                let (shelf, waiting) = (Arc::clone(&shelf), Arc::clone(&waiting));
                thread::Builder::new().name(format!("speech-{index}")).spawn(move || shelf.run(&waiting))
            })
            .collect::<io::Result<_>>()?;
        Ok(Speech { shelf, orders: Some(orders), renderers })
    }

    /// The audio of a sentence, which is ordered if it is not there yet.
    pub(crate) fn speak(&self, utterance: &Utterance) -> Spoken {
        let mut kept = self.shelf.kept();
        if let Some(prompt) = kept.ready.get(utterance) {
            return Spoken::Ready(Arc::clone(prompt));
        }
        if kept.coming.contains(utterance) {
            return Spoken::Coming;
        }
        if kept.paused_until.is_some_and(|until| Instant::now() < until) {
            return Spoken::Unavailable;
        }
        match self.orders.as_ref().map(|orders| orders.try_send(utterance.clone())) {
            Some(Ok(())) => {
                kept.coming.push(utterance.clone());
                Spoken::Coming
            }
            Some(Err(_)) | None => Spoken::Unavailable,
        }
    }

    /// Whether a sentence is being rendered.
    pub(crate) fn is_coming(&self, utterance: &Utterance) -> bool {
        self.shelf.kept().coming.contains(utterance)
    }
}

impl Drop for Speech {
    fn drop(&mut self) {
        self.orders = None;
        for renderer in self.renderers.drain(..) {
            // A renderer that panicked has been reported by the panic itself.
            let _ = renderer.join();
        }
    }
}

impl Shelf {
    fn run(&self, waiting: &Mutex<Receiver<Utterance>>) {
        loop {
            let order = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(utterance) = order else { return };
            let rendered = self.render(&utterance);
            self.keep(&utterance, rendered);
            (self.on_spoken)(&utterance);
        }
    }

    fn keep(&self, utterance: &Utterance, rendered: Result<Prompt, SpeechError>) {
        let mut kept = self.kept();
        kept.coming.retain(|coming| coming != utterance);
        match rendered {
            Ok(prompt) => {
                kept.insert(utterance.clone(), Arc::new(prompt));
                if self.broken.swap(false, Ordering::Relaxed) {
                    tracing::info!("prompts can be spoken again");
                }
            }
            Err(error) => {
                kept.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
                if !self.broken.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        code = Code::SpeechUnavailable.id(),
                        error = %error,
                        "callers hear only the tone; install espeak-ng, or look at the prompts folder"
                    );
                }
            }
        }
    }

    /// Reads a sentence from the folder, or speaks it and puts it there.
    fn render(&self, utterance: &Utterance) -> Result<Prompt, SpeechError> {
        let name = file_name(utterance);
        let file = self.folder.join(&name);
        if let Ok(samples) = read(&file) {
            return Ok(Prompt::from_samples(&samples));
        }
        // The name is its own key and is rendered once at a time, so nobody else writes these.
        let raw = self.folder.join(format!("{name}.raw"));
        let new = self.folder.join(format!("{name}.new"));
        let spoken = self.say(utterance, &raw).and_then(|()| Ok(read(&raw)?));
        // It may never have been written.
        let _ = fs::remove_file(&raw);
        let mut samples = spoken?;
        let end = samples.iter().rposition(|sample| sample.unsigned_abs() > QUIET).map_or(0, |last| last + 1);
        samples.truncate(end + TAIL_SAMPLES);
        write(&new, &samples)?;
        fs::rename(&new, &file).map_err(SpeechError::Keep)?;
        if self.files.fetch_add(1, Ordering::Relaxed) >= MAX_FILES
            && let Ok(left) = prune(&self.folder)
        {
            // If it fails, the next sentence tries again.
            self.files.store(left, Ordering::Relaxed);
        }
        Ok(Prompt::from_samples(&samples))
    }

    fn say(&self, utterance: &Utterance, to: &Path) -> Result<(), SpeechError> {
        let mut child = Command::new(&self.program)
            .args(["-v", voice(utterance.language), "-s", WORDS_PER_MINUTE, "-b", "1", "--stdin", "-w"])
            .arg(to)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SpeechError::Start { program: self.program.clone(), source })?;
        // Text goes by the standard input, which nobody else on the machine can read, and where a
        // name that begins with a dash is no option. It is far smaller than a pipe holds. Dropping
        // the handle is what ends the text.
        let handed =
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(utterance.text().as_bytes()));
        let ended = wait(&mut child);
        if ended.is_err() {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            let _ = child.wait();
        }
        let status = ended?;
        handed.map_err(SpeechError::Text)?;
        if status.success() { Ok(()) } else { Err(SpeechError::Failed(status)) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change of it is complete before anything can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(child: &mut Child) -> Result<std::process::ExitStatus, SpeechError> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(SpeechError::Wait)? {
            return Ok(status);
        }
        if began.elapsed() > RENDER_LIMIT {
            return Err(SpeechError::TooLong);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The voice of `espeak-ng` for a language.
const fn voice(language: Language) -> &'static str {
    match language {
        Language::EnUs => "en-us",
        Language::EnGb => "en-gb",
        Language::DeDe => "de",
        Language::FrFr => "fr-fr",
    }
}

/// The file of a sentence: whatever changes the sound changes the name.
fn file_name(utterance: &Utterance) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(voice(utterance.language).as_bytes());
    hasher.write(WORDS_PER_MINUTE.as_bytes());
    hasher.write(utterance.text().as_bytes());
    format!("{}-{:032x}.wav", voice(utterance.language), hasher.finish128().as_u128())
}

/// Samples of a mono file of 16 bits, at 8 kHz.
fn read(file: &Path) -> Result<Vec<i16>, hound::Error> {
    let mut reader = hound::WavReader::open(file)?;
    let spec = reader.spec();
    if spec.channels != 1 || spec.sample_rate == 0 {
        return Err(hound::Error::Unsupported);
    }
    let limit = MAX_SAMPLES * usize::try_from(spec.sample_rate).unwrap_or(usize::MAX) / 8_000;
    let samples = reader.samples::<i16>().take(limit).collect::<Result<Vec<i16>, _>>()?;
    Ok(resample(&samples, spec.sample_rate, 8_000))
}

fn write(file: &Path, samples: &[i16]) -> Result<(), hound::Error> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec)?;
    samples.iter().try_for_each(|sample| writer.write_sample(*sample))?;
    writer.finalize()
}

/// Removes the oldest files beyond [`MAX_FILES`]; names change, and nobody else forgets old ones.
fn prune(folder: &Path) -> io::Result<usize> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
    }
    files.sort();
    let surplus = files.len().saturating_sub(MAX_FILES);
    files.iter().take(surplus).try_for_each(|(_, file)| fs::remove_file(file))?;
    Ok(files.len() - surplus)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::message::Codec;

    const LIMIT: Duration = Duration::from_secs(30);

    fn greeting(name: &str) -> Utterance {
        Utterance { language: Language::EnUs, sentence: Sentence::Greeting { name: name.to_owned() } }
    }

    /// Speech, and where it tells what it has spoken.
    fn speech(folder: &Path, program: &str) -> (Speech, Receiver<Utterance>) {
        let (tell, told) = mpsc::channel();
        let on_spoken: OnSpoken = Arc::new(move |utterance| {
            // The test may have ended.
            let _ = tell.send(utterance.clone());
        });
        (Speech::start(folder, program, on_spoken).unwrap(), told)
    }

    #[test]
    fn a_sentence_is_spoken_once_and_then_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (first, told) = speech(folder.path(), "espeak-ng");
        assert!(matches!(first.speak(&greeting("Ada")), Spoken::Coming));
        assert_eq!(told.recv_timeout(LIMIT), Ok(greeting("Ada")));
        let Spoken::Ready(prompt) = first.speak(&greeting("Ada")) else { panic!("it was told to be ready") };
        let seconds = prompt.encoded(Codec::Pcmu).len() / 8_000;
        assert!((3..12).contains(&seconds), "{seconds} s");
        let loudest = prompt.encoded(Codec::Pcma).iter().filter(|byte| **byte & 0x7f ^ 0x55 > 80).count();
        assert!(loudest > 1_000, "it is not silence");
        drop(first);

        // A program that would fail shows that the file was read.
        let (second, told) = speech(folder.path(), "false");
        assert!(matches!(second.speak(&greeting("Ada")), Spoken::Coming));
        assert_eq!(told.recv_timeout(LIMIT), Ok(greeting("Ada")));
        let Spoken::Ready(again) = second.speak(&greeting("Ada")) else { panic!("it was told to be ready") };
        assert_eq!(again, prompt);
    }

    #[test]
    fn without_the_program_nothing_is_spoken_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let (speech, told) = speech(folder.path(), "no-such-program-here");
        assert!(matches!(speech.speak(&greeting("Ada")), Spoken::Coming));
        assert_eq!(told.recv_timeout(LIMIT), Ok(greeting("Ada")));
        assert!(matches!(speech.speak(&greeting("Ada")), Spoken::Unavailable));
        assert!(speech.shelf.broken.load(Ordering::Relaxed));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no rest of a rendering stays");
    }

    #[test]
    fn a_damaged_file_is_spoken_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(file_name(&greeting("Ada")));
        fs::write(&file, b"RIFF....WAVEno").unwrap();
        let (speech, told) = speech(folder.path(), "espeak-ng");
        speech.speak(&greeting("Ada"));
        told.recv_timeout(LIMIT).unwrap();
        assert!(matches!(speech.speak(&greeting("Ada")), Spoken::Ready(_)));
        assert!(fs::metadata(&file).unwrap().len() > 40_000);
    }

    #[test]
    fn names_make_room_for_names_and_the_generic_greeting_stays() {
        let mut kept = Kept::default();
        let prompt = Arc::new(Prompt::from_samples(&[0]));
        let generic = Utterance { language: Language::EnUs, sentence: Sentence::GenericGreeting };
        kept.insert(generic.clone(), Arc::clone(&prompt));
        for name in 0..=MAX_KEPT {
            kept.insert(greeting(&name.to_string()), Arc::clone(&prompt));
        }
        assert_eq!(kept.ready.len(), MAX_KEPT + 1);
        assert!(kept.ready.contains_key(&generic));
        assert!(!kept.ready.contains_key(&greeting("0")));
    }

    #[test]
    fn the_oldest_files_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.wav");
        fs::write(&old, b"").unwrap();
        fs::File::open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        for index in 0..MAX_FILES {
            fs::write(folder.path().join(format!("{index}.wav")), b"").unwrap();
        }
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let (speech, told) = speech(folder.path(), "espeak-ng");
        assert!(!old.exists());
        assert_eq!(files(), MAX_FILES);
        speech.speak(&greeting("Ada"));
        told.recv_timeout(LIMIT).unwrap();
        assert!(matches!(speech.speak(&greeting("Ada")), Spoken::Ready(_)));
        assert_eq!(files(), MAX_FILES, "also while it runs");
    }
}
