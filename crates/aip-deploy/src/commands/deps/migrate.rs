//! `deps migrate postgres`: the Pods learn of the other database, a Job moves the data (`aip database move run`),
//! and the stack file and the Pods forget the first one.
//!
//! Every run looks at what is there: the stack file, what is deployed, and both databases, which the Job asks.
//! So a run that was killed is completed by the next one. The Pods follow the move by themselves, so that the
//! pause does not depend on how long a rollout takes.

use aip_apply::apply::{FailPoint, LeaseRenewer};
use aip_apply::store::{RevisionRecord, last_good};
use aip_stack::Target;
use aip_stack::config::NEXT_DATABASE_URL;
use aip_stack::config::fields::{
    DATABASE_URL, ENV_CONFIG, EXTRA_ENV, POSTGRES, PROFILE, REQUIRED_ENV,
};
use aip_stack::desired::{Desired, REKEY_TIMEOUT_SECONDS};
use clap::{Args, ValueEnum};
use pulumi_files::StackFile;
use secrecy::{ExposeSecret as _, SecretString};
use yaml_lossless::Tree;

use super::DepsError;
use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack, Stack};
use crate::ui::prompt::{Answer, ask};
use crate::workflow::{Deployment, Operation, with_lease};

/// What happens, how it is checked, and the way back.
const PLAN: [&str; 17] = [
    "1. deploy    The Pods learn of the other database, and go on to use this one.",
    "             check: the rollout. way back: `aip-deploy rollback`",
    "2. check     A Job looks at versions, encodings, rights, and that the other database is empty.",
    "             It changes nothing if they do not fit.",
    "3. copy      The Job copies every table while the Pods go on to write, then what was written since.",
    "             check: a digest of each table. way back: `kubectl exec deploy/aip -- aip database move cancel`,",
    "             then `aip-deploy rollback`",
    "4. switch    Writes wait for at most 10 s; the rest is copied; this database is closed, the other opened.",
    "             check: rows and digests; if they differ or time runs out, this database is used as before.",
    "             way back: as before, until this database is closed; then a move in the other direction",
    "5. finish    The Job checks all references, and removes what the move needed. This database refuses writes",
    "             for ever, and stays as it is.",
    "             way back: a move in the other direction, to an empty database",
    "6. deploy    The stack file names the other database, and the Pods forget this one.",
    "             check: the rollout. way back: a move in the other direction",
    "A run that is interrupted is completed by the same command.",
    "",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Destination {
    /// The database of `aip_config.extra_env.AIP_DATABASE_NEXT_URL`, which is empty
    External,
    /// A Cluster of `CloudNativePG`, which the stack makes
    Cnpg,
}

#[derive(Debug, Args)]
#[command(after_help = examples![
    "deps migrate postgres --to external",
    "deps migrate postgres --to cnpg --yes",
])]
pub(super) struct MigrateArgs {
    /// The server whose data is moved
    #[arg(value_enum)]
    server: Server,
    /// Where to
    #[arg(long, value_enum)]
    to: Destination,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
}

/// How far the stack file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// It names the database in use.
    Before,
    /// It names the new database alone, and the Pods know both.
    Written,
}

/// What a stack file says of its databases.
struct Databases {
    /// `aip_config.dependencies.postgres`.
    kind: String,
    next: Option<SecretString>,
}

impl MigrateArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), DepsError> {
        let Server::Postgres = self.server;
        let stack = ctx.open_stack().await?;
        self.position(&stack, &stack.stack.load()?).await?;
        ctx.screen.lines(PLAN);
        if !self.yes {
            let noun = Operation::MoveDatabase.labels().noun;
            let question = format!("Do you want to perform this {noun}?");
            match ask(&ctx.screen, &question, false)? {
                Answer::Yes => {}
                Answer::No | Answer::Details => return Err(CommandError::Declined(noun).into()),
            }
        }
        with_lease(&stack, Operation::MoveDatabase, async |lease| {
            // Boxed: the future of an apply is larger than a stack frame should be.
            Box::pin(self.migrate(&stack, lease)).await
        })
        .await
    }

    async fn migrate(&self, stack: &OpenStack<'_>, lease: &LeaseRenewer) -> Result<(), DepsError> {
        let ctx = stack.ctx;
        let mut file = stack.stack.load()?;
        if self.position(stack, &file).await? == Position::Before {
            if self.to == Destination::Cnpg {
                set_kind(stack.stack, &mut file, "cnpg_next")?;
                file.save()?;
            }
            let mut target = stack.target_to_deploy().await?;
            let flags = ApplyFlags {
                yes: self.yes,
                ..ApplyFlags::unattended()
            };
            deploy(stack, lease, &target, &flags).await?;
            add_job(ctx, &mut target);
            let flags = ApplyFlags {
                timeout: REKEY_TIMEOUT_SECONDS,
                ..ApplyFlags::unattended()
            };
            deploy(stack, lease, &target, &flags).await?;
            ctx.fail_points.reached(FailPoint::DatabaseMoved).await;
            self.write(ctx, stack.stack, &mut file).await?;
            ctx.fail_points.reached(FailPoint::MoveWritten).await;
        }
        let good = last_good(stack.store.as_ref()).await?;
        let (_, last) = good.ok_or(DepsError::NothingDeployed)?;
        // With the image of the Pods that are there.
        let moved = RevisionRecord {
            stack_file: file.text().to_owned(),
            ..last
        };
        let target = stack.target_of_revision(&moved).await?;
        deploy(stack, lease, &target, &ApplyFlags::unattended()).await?;
        ctx.screen.line(
            "The database was moved. The one before refuses writes; delete it when you have a backup of the new one.",
        );
        Ok(())
    }

    /// How far it is, or why there is nothing to do.
    async fn position(
        &self,
        stack: &OpenStack<'_>,
        file: &StackFile,
    ) -> Result<Position, DepsError> {
        let ctx = stack.ctx;
        let profile = ctx.text(stack.stack, file, PROFILE.path()).await?;
        if profile.is_none_or(|profile| profile.expose_secret() != "restricted") {
            return Err(DepsError::Profile);
        }
        let good = last_good(stack.store.as_ref()).await?;
        let (_, last) = good.ok_or(DepsError::NothingDeployed)?;
        let path = stack.stack.project.stack_file(&stack.stack.name);
        let deployed = StackFile::parse(&path, last.stack_file, &stack.stack.project.name)?;
        let deployed = Databases::of(ctx, stack.stack, &deployed).await?;
        let wanted = Databases::of(ctx, stack.stack, file).await?;
        let path = next_path();
        match self.to {
            Destination::External if wanted.next.is_some() => Ok(Position::Before),
            Destination::External if deployed.next.is_some() => Ok(Position::Written),
            Destination::External => Err(DepsError::NoNextUrl { path }),
            Destination::Cnpg if wanted.next.is_some() => Err(DepsError::TwoTargets { path }),
            Destination::Cnpg if wanted.kind != "cnpg" => Ok(Position::Before),
            Destination::Cnpg if deployed.kind == "cnpg_next" => Ok(Position::Written),
            Destination::Cnpg => Err(DepsError::AlreadyMoved),
        }
    }

    /// Puts the new database into the stack file in the place of the old one.
    async fn write(
        &self,
        ctx: &Context,
        stack: &Stack,
        file: &mut StackFile,
    ) -> Result<(), DepsError> {
        let url = url_path(stack, file)?;
        match self.to {
            Destination::External => {
                let next = Databases::of(ctx, stack, file).await?.next;
                let path = next_path();
                let next = next.ok_or_else(|| DepsError::NoNextUrl { path: path.clone() })?;
                let crypter = ctx.crypter_or_new(file).await?;
                let sealed = crypter.encrypt(next.expose_secret(), ctx.rng.as_ref());
                let sealed = sealed.map_err(|source| DepsError::Crypter {
                    path: url.clone(),
                    source,
                })?;
                file.set(&stack.config_path(&url, true)?, Tree::secret(sealed))?;
                file.remove(&stack.config_path(&path, true)?)?;
                set_kind(stack, file, "external")?;
            }
            Destination::Cnpg => {
                file.remove(&stack.config_path(&url, true)?)?;
                set_kind(stack, file, "cnpg")?;
            }
        }
        Ok(file.save()?)
    }
}

impl Databases {
    async fn of(ctx: &Context, stack: &Stack, file: &StackFile) -> Result<Self, DepsError> {
        let kind = ctx.text(stack, file, POSTGRES.path()).await?;
        let kind = kind.map_or_else(
            || "external".to_owned(),
            |kind| kind.expose_secret().to_owned(),
        );
        Ok(Self {
            kind,
            next: ctx.text(stack, file, &next_path()).await?,
        })
    }
}

fn next_path() -> String {
    format!("{}.{NEXT_DATABASE_URL}", EXTRA_ENV.path())
}

/// Where the file has the URL of its database: the required environment has two names.
fn url_path(stack: &Stack, file: &StackFile) -> Result<String, DepsError> {
    let map = match file.at(&stack.config_path(ENV_CONFIG.path(), true)?) {
        Some(_) => ENV_CONFIG.path(),
        None => REQUIRED_ENV.path(),
    };
    Ok(format!("{map}.{}", DATABASE_URL.name))
}

fn set_kind(stack: &Stack, file: &mut StackFile, kind: &str) -> Result<(), DepsError> {
    let path = stack.config_path(POSTGRES.path(), true)?;
    Ok(file.set(&path, Tree::String(kind.to_owned()))?)
}

/// Adds the Job that moves the data.
fn add_job(ctx: &Context, target: &mut Target) {
    let run = ctx.run_name();
    let job = target.desired.iter().find_map(|one| one.move_job(&run));
    target.desired.extend(job);
    // A stable sort: within a phase the order stays.
    target.desired.sort_by_key(Desired::phase);
}

async fn deploy(
    stack: &OpenStack<'_>,
    lease: &LeaseRenewer,
    target: &Target,
    flags: &ApplyFlags,
) -> Result<(), DepsError> {
    let deployment = Deployment::new(stack, target, Operation::MoveDatabase, flags);
    Ok(deployment.run_with(lease).await?)
}
