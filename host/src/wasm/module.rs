//! A component that was found fit to be a state machine.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::bindings::{FsmPre, HostState};
use super::engine::{Engine, INTERFACE};
use super::instance::{Instance, StartError};
use super::limits::{MEMORIES, TABLES};
use super::thread::with_guest_stack;
use super::trap::{Fault, shorten};
use crate::types::{Description, Limits, ModuleId};

/// Size of a module, in bytes, that uploads are held to. A Python module has 18 MB.
pub const MAX_MODULE_BYTES: usize = 32 << 20;

/// Bytes of a name or version in a description, and of a protocol.
const MAX_NAME_BYTES: usize = 64;
/// Schemas and protocols in a description.
const MAX_LIST: usize = 64;
/// Bytes of wasmtime's explanation that are passed on.
const EXPLANATION_BYTES: usize = 1 << 10;
/// Imports that a refusal names, and bytes of each name. A module may have very many.
const NAMED_IMPORTS: usize = 16;
const IMPORT_NAME_BYTES: usize = 128;

/// What `rkv:fsm/state-machine` has to export.
const EXPORTS: [&str; 10] = [
    "describe",
    "apply",
    "query",
    "snapshot",
    "[constructor]snapshot",
    "[method]snapshot.read",
    "restore",
    "[constructor]restore",
    "[method]restore.write",
    "[static]restore.finish",
];

/// A checked and compiled module. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    shared: Arc<Shared>,
}

struct Shared {
    id: ModuleId,
    size: usize,
    description: Description,
    pre: FsmPre<HostState>,
}

/// Why bytes are not a state machine. Each message tells the author of the module what to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Larger than is allowed here.
    #[error(
        "the module has {size} bytes, more than the {limit} allowed: build it for size, and strip \
         debug information (`wasm-tools strip`)"
    )]
    TooLarge {
        /// Size of the module in bytes.
        size: usize,
        /// Most that is allowed.
        limit: usize,
    },
    /// Neither a component nor a core module.
    #[error(
        "not a WebAssembly binary: a component begins with the bytes 00 61 73 6d 0d 00 01 00 (text \
         and precompiled modules are not accepted)"
    )]
    NotWasm,
    /// A module that was not made a component yet.
    #[error(
        "a core WebAssembly module, not a component: wrap it with `wasm-tools component new \
         MODULE.wasm -o COMPONENT.wasm`"
    )]
    CoreModule,
    /// Does not parse or validate, or uses a feature that is off, such as threads, GC or async.
    #[error("not a valid component, or one that needs a WebAssembly feature that is off here: {0}")]
    Invalid(String),
    /// Wants what only a WASI or other host offers.
    #[error("the module imports what rkv does not offer: {}{}", .0.join(", "), wasi_hint(.0))]
    ForeignImports(Vec<String>),
    /// Lacks a part of the interface.
    #[error(
        "the module does not export {}: build it against the world `fsm` of {INTERFACE}",
        .0.join(", ")
    )]
    MissingExports(Vec<String>),
    /// Has all parts, but of another version or with other types.
    #[error("the module does not fit {INTERFACE}: build it against that version ({0})")]
    WrongTypes(String),
    /// Wants more memories or tables than there can be.
    #[error(
        "the module has {memories} memories and {tables} tables, more than {MEMORIES} and \
         {TABLES}: link it into one core module"
    )]
    TooManyResources {
        /// Linear memories over all core modules.
        memories: u32,
        /// Tables over all core modules.
        tables: u32,
    },
    /// Trapped, or ran out of fuel or memory, in its start function or in `describe`.
    #[error("the module fails at its start or in `describe`, before any command: {0}")]
    Describe(Fault),
    /// Describes itself in a way that nobody can use.
    #[error("the module's `describe` is not usable: {0}")]
    BadDescription(&'static str),
    /// This node's doing; the module may be good.
    #[error("this node cannot check the module: {0}")]
    Node(String),
}

fn wasi_hint(imports: &[String]) -> &'static str {
    if imports.iter().any(|name| name.starts_with("wasi:")) {
        ". A replicated state machine has no clock, files or random numbers of its own, so there \
         is no WASI: build for wasm32-unknown-unknown (Rust), or use componentize-py --stub-wasi \
         (Python)"
    } else {
        ""
    }
}

impl Module {
    pub(super) fn load(
        engine: &Engine,
        wasm: &[u8],
        max_bytes: usize,
    ) -> Result<Self, ModuleError> {
        if wasm.len() > max_bytes {
            return Err(ModuleError::TooLarge {
                size: wasm.len(),
                limit: max_bytes,
            });
        }
        check_header(wasm)?;
        let id = ModuleId(Sha256::digest(wasm).into());
        let component = engine
            .compile(id, wasm)
            .map_err(|error| ModuleError::Invalid(explain(&error)))?;
        check_imports(engine, &component)?;
        check_resources(&component)?;
        check_exports(engine, &component)?;
        let pre = engine
            .linker()
            .instantiate_pre(&component)
            .and_then(FsmPre::new)
            .map_err(|error| ModuleError::WrongTypes(explain(&error)))?;
        let description = describe(&pre, id)?;
        check_description(&description)?;
        Ok(Self {
            shared: Arc::new(Shared {
                id,
                size: wasm.len(),
                description,
                pre,
            }),
        })
    }

    /// The sha256 of the module's bytes.
    pub fn id(&self) -> ModuleId {
        self.shared.id
    }

    /// Size of the module's bytes.
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// What the module says of itself.
    pub fn description(&self) -> &Description {
        &self.shared.description
    }

    /// A new instance with an empty state, bounded by `limits`. To be called on a thread with
    /// [`THREAD_STACK_BYTES`](super::THREAD_STACK_BYTES) of stack.
    pub fn instantiate(&self, limits: &Limits) -> Result<Instance, Fault> {
        Instance::new(&self.shared.pre, self.shared.id, limits).map_err(|error| match error {
            StartError::Fault(fault) => fault,
            StartError::WrongTypes(error) => Fault::Node(format!("types changed: {error:#}")),
        })
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("id", &self.shared.id)
            .field("description", &self.shared.description)
            .finish_non_exhaustive()
    }
}

/// The layer number in bytes 6 and 7 tells a component from a core module.
fn check_header(wasm: &[u8]) -> Result<(), ModuleError> {
    match wasm {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', _, _, 0, 0, ..] => Err(ModuleError::CoreModule),
        _ => Err(ModuleError::NotWasm),
    }
}

/// The version of an import of ours is the linker's to judge.
fn check_imports(engine: &Engine, component: &Component) -> Result<(), ModuleError> {
    let ty = component.component_type();
    let mut foreign: Vec<String> = ty
        .imports(engine.wasmtime())
        .filter(|(name, _)| {
            !["rkv:fsm/types@", "rkv:fsm/log@"]
                .iter()
                .any(|ours| name.starts_with(ours))
        })
        .map(|(name, _)| shorten(name, IMPORT_NAME_BYTES).to_owned())
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let more = foreign.len().saturating_sub(NAMED_IMPORTS);
    foreign.truncate(NAMED_IMPORTS);
    if more > 0 {
        foreign.push(format!("and {more} more"));
    }
    Err(ModuleError::ForeignImports(foreign))
}

fn check_exports(engine: &Engine, component: &Component) -> Result<(), ModuleError> {
    let wasmtime = engine.wasmtime();
    let ty = component.component_type();
    let machine = ty
        .exports(wasmtime)
        .find_map(|(name, export)| match export.ty {
            ComponentItem::ComponentInstance(machine)
                if name.starts_with("rkv:fsm/state-machine@") =>
            {
                Some(machine)
            }
            _ => None,
        });
    let Some(machine) = machine else {
        return Err(ModuleError::MissingExports(vec![
            "the interface rkv:fsm/state-machine".into(),
        ]));
    };
    let missing: Vec<String> = EXPORTS
        .into_iter()
        .filter(|name| machine.get_export(wasmtime, name).is_none())
        .map(str::to_owned)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(ModuleError::MissingExports(missing))
    }
}

fn check_resources(component: &Component) -> Result<(), ModuleError> {
    // `None` means core modules among the imports, which were refused before.
    let Some(required) = component.resources_required() else {
        return Ok(());
    };
    if required.num_memories > MEMORIES || required.num_tables > TABLES {
        return Err(ModuleError::TooManyResources {
            memories: required.num_memories,
            tables: required.num_tables,
        });
    }
    Ok(())
}

/// Runs `describe` on an instance of its own, under the limits of a new cluster.
fn describe(pre: &FsmPre<HostState>, id: ModuleId) -> Result<Description, ModuleError> {
    let described = with_guest_stack(|| {
        let mut instance =
            Instance::new(pre, id, &Limits::DEFAULT).map_err(|error| match error {
                StartError::Fault(fault) => fault.into(),
                StartError::WrongTypes(error) => ModuleError::WrongTypes(explain(&error)),
            })?;
        instance.describe().map_err(ModuleError::from)
    });
    described.unwrap_or_else(|error| {
        Err(ModuleError::Node(format!(
            "there is no thread to run it on: {error}"
        )))
    })
}

impl From<Fault> for ModuleError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Node(reason) => Self::Node(reason),
            Fault::Trap(_) | Fault::Memory | Fault::Poisoned => Self::Describe(fault),
        }
    }
}

fn check_description(description: &Description) -> Result<(), ModuleError> {
    let printable = |text: &str| !text.contains(char::is_control);
    let Description {
        name,
        version,
        schema: _,
        reads_schemas,
        protocols,
    } = description;
    let complaint = if name.is_empty() || name.len() > MAX_NAME_BYTES {
        "the name must have 1 to 64 bytes"
    } else if version.len() > MAX_NAME_BYTES {
        "the version may have 64 bytes at most"
    } else if reads_schemas.len() > MAX_LIST || protocols.len() > MAX_LIST {
        "there may be 64 schemas to read and 64 protocols at most"
    } else if protocols
        .iter()
        .any(|protocol| protocol.is_empty() || protocol.len() > MAX_NAME_BYTES)
    {
        "a protocol must have 1 to 64 bytes"
    } else if ![name, version]
        .into_iter()
        .chain(protocols)
        .all(|text| printable(text))
    {
        "names, versions and protocols may not contain control characters"
    } else {
        return Ok(());
    };
    Err(ModuleError::BadDescription(complaint))
}

/// wasmtime's explanation on one line.
fn explain(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    shorten(&text, EXPLANATION_BYTES).to_owned()
}
