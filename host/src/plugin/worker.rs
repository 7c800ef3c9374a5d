//! A worker: a thread that owns one instance and makes one call at a time on it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::engine;
use super::failure::Failure;
use super::instance::{Answer, Blueprint, Call, Instance};
use super::progress::Progress;
use super::waiting;

/// How long nothing may move once the user wants to end.
const GIVEN_UP: Duration = Duration::from_secs(2);

struct Job {
    call: Call,
    reply: Sender<Result<Answer, Failure>>,
}

/// The handle of a worker's thread. The thread ends when this is dropped, or as soon after as it can: it is never
/// waited for, since it may hang in the operating system (a dead network share).
pub(super) struct Worker {
    jobs: Sender<Job>,
    progress: Arc<Progress>,
}

impl Worker {
    /// Starts a thread; the instance is made by its first call.
    pub(super) fn start(blueprint: Arc<Blueprint>) -> Result<Self, Failure> {
        let (jobs, todo) = bounded(1);
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        thread::Builder::new()
            .name(format!("plugin-{}", blueprint.plugin))
            .spawn(move || run(&blueprint, &todo, &shared))
            .map_err(|error| Failure::Stopped(format!("no thread could be started for it: {error}")))?;
        Ok(Worker { jobs, progress })
    }

    /// Makes a call and watches it. Gives the worker back for the next call, unless its instance is gone.
    pub(super) fn call(self, call: Call, idle: Duration, total: Duration) -> (Option<Self>, Result<Answer, Failure>) {
        let (reply, answer) = bounded(1);
        if self.jobs.send(Job { call, reply }).is_err() {
            return (None, Err(Failure::Stopped("its thread has ended".into())));
        }
        match self.wait(&answer, idle, total) {
            Err(Failure::Stopped(why)) => (None, Err(Failure::Stopped(why))),
            result => (Some(self), result),
        }
    }

    fn wait(
        &self,
        answer: &Receiver<Result<Answer, Failure>>,
        idle: Duration,
        total: Duration,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let (mut steps, mut moved) = (self.progress.steps(), started);
        let glance = (idle.min(total) / 8).clamp(Duration::from_millis(1), Duration::from_secs(1));
        loop {
            match answer.recv_timeout(glance) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Stopped("its thread panicked".into())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.progress.steps() != steps {
                (steps, moved) = (self.progress.steps(), now);
            }
            // The user wants to end: what moves may go on.
            let hasty = now - moved >= GIVEN_UP && waiting::has_given_up();
            let why = if hasty {
                "the user interrupts it".into()
            } else if now - moved >= idle {
                format!("nothing moved for {idle:?}")
            } else if now - started >= total {
                format!("the call took longer than {total:?}")
            } else {
                continue;
            };
            self.progress.abandon();
            return Err(Failure::Stopped(why));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.progress.abandon();
    }
}

/// The worker's thread.
fn run(blueprint: &Arc<Blueprint>, todo: &Receiver<Job>, progress: &Arc<Progress>) {
    let mut instance = None;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    while let Ok(Job { call, reply }) = todo.recv() {
        let result = match &runtime {
            Ok(runtime) => {
                runtime.block_on(unless_abandoned(progress, perform(&mut instance, blueprint, progress, call)))
            }
            Err(error) => Err(Failure::Stopped(format!("no runtime could be made for it: {error}"))),
        };
        let ended = matches!(result, Err(Failure::Stopped(_)));
        let _ = reply.send(result);
        if ended {
            return;
        }
    }
}

/// The call, unless everybody gives up on it before.
async fn unless_abandoned(
    progress: &Progress,
    call: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    let mut abandoned = pin!(progress.abandoned());
    let mut call = pin!(call);
    poll_fn(|context| match abandoned.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(Err(Failure::Stopped("nobody waits for it any more".into()))),
        Poll::Pending => call.as_mut().poll(context),
    })
    .await
}

async fn perform(
    instance: &mut Option<Instance>,
    blueprint: &Arc<Blueprint>,
    progress: &Arc<Progress>,
    call: Call,
) -> Result<Answer, Failure> {
    let _ticking = engine::runtime().map_err(Failure::Answered)?.begin_call();
    let instance = match instance {
        Some(instance) => instance,
        None => instance.insert(Instance::new(blueprint.clone(), progress.clone()).await?),
    };
    instance.call(call).await
}
