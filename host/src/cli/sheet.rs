//! The recovery sheet: what somebody needs, on paper, who has lost everything but the repository.

use std::path::PathBuf;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use super::output::{Output, printable};
use super::trust::quoted;
use super::{Failure, Global};
use crate::chunk::ChunkId;
use crate::plugin::{Component, PluginSource};

/// The name of a plugin file, and its SHA-256.
pub type PluginFile = (PathBuf, String);

/// What stands on a recovery sheet.
pub struct Sheet<'a> {
    /// Whose sheet it is, where that is not the machine that prints it.
    pub client: Option<&'a str>,
    /// Where the repository is.
    pub location: &'a str,
    /// The plugin, if it is no part of this program.
    pub plugin: Option<PluginFile>,
    /// The repository id.
    pub repository: ChunkId,
    /// The credentials: passphrase or identity, and its id.
    pub credentials: Vec<(&'static str, ChunkId)>,
    /// A passphrase that was made for it.
    pub passphrase: Option<&'a str>,
    /// Whether the client can restore.
    pub reads: bool,
}

/// The file and the SHA-256 of a plugin that is no part of this program.
pub fn foreign_plugin(global: &Global) -> Result<Option<PluginFile>, Failure> {
    let Some(file) = &global.backend else { return Ok(None) };
    let component = Component::read(&PluginSource::File(file.clone()))?;
    Ok(Some((file.clone(), component.sha256().to_owned())))
}

impl Sheet<'_> {
    /// Prints it.
    pub fn print(&self, output: &mut Output) -> Result<(), Failure> {
        match self.client {
            None => output.line("Recovery sheet: print this, and keep it away from this machine.")?,
            Some(client) => output.line(format!(
                "Recovery sheet of the client {}: print this, and keep it away from that machine.",
                printable(client.as_bytes())
            ))?,
        }
        output.line("")?;
        output.line(format!("  location       {}", self.location))?;
        output.line(format!("  repository id  {}", self.repository))?;
        if let Some((file, digest)) = &self.plugin {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            output.line(format!("  plugin         {} (keep a copy of it, too)", printable(name.as_bytes())))?;
            output.line(format!("  its SHA-256    {digest}"))?;
        }
        for (kind, id) in &self.credentials {
            output.line(format!("  {kind:<10} opens credential {id}"))?;
        }
        match self.passphrase {
            Some(passphrase) => output.line(format!("  passphrase     {passphrase}"))?,
            None if self.is_for_passphrase() => output.line("  passphrase     ______________________________")?,
            None => {}
        }
        output.line("")?;
        self.print_commands(output)
    }

    fn is_for_passphrase(&self) -> bool {
        self.credentials.iter().any(|(kind, _)| *kind == "passphrase")
    }

    fn print_commands(&self, output: &mut Output) -> Result<(), Failure> {
        let identity = if self.is_for_passphrase() { "" } else { "--identity FILE " };
        let plugin =
            self.plugin.as_ref().map_or_else(String::new, |(_, digest)| format!("--backend PLUGIN --trust {digest} "));
        // Where there are other clients, it is one of many credentials.
        let credential = match (self.client, self.credentials.as_slice()) {
            (Some(_), [(_, id)]) => format!("--credential {id} "),
            _ => String::new(),
        };
        let command = |what: &str| {
            format!(
                "  obnam --repo {} {plugin}--repository-id {} {credential}{identity}{what}",
                self.location, self.repository
            )
        };
        if self.client.is_some() {
            output.line("To back up on the new machine, with obnam and the secret above:")?;
            output.line(command("backup PATH"))?;
        }
        if !self.reads {
            output
                .line("This client cannot read what it backs up: to restore it, use the sheet of a client that can.")?;
            return output.line("Without the passphrase or identity nobody can back up as this client.");
        }
        output.line("To restore on a new machine, with obnam and one of the secrets above:")?;
        output.line(command("restore latest TARGET"))?;
        output.line("Without the passphrase or identity nobody can read the backups, nor can anybody help.")?;
        self.print_code(output)
    }

    /// What would have to be typed otherwise, as a QR code: the text of a file for a shell.
    fn print_code(&self, output: &mut Output) -> Result<(), Failure> {
        let text = self.variables();
        // Where the location is too long for a code, the text has to do.
        let Ok(code) = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L) else { return Ok(()) };
        output.line("")?;
        output.line("The same to be scanned. Save the text as a file SHEET on the new machine; then, in a shell:")?;
        let identity = if self.is_for_passphrase() { "" } else { "--identity FILE " };
        let plugin =
            self.plugin.as_ref().map_or_else(String::new, |(_, digest)| format!("--backend PLUGIN --trust {digest} "));
        output.line(format!("  set -a; . ./SHEET; set +a; obnam {plugin}{identity}restore latest TARGET"))?;
        output.line("")?;
        for line in Zeroizing::new(code.render::<Dense1x2>().quiet_zone(true).build()).lines() {
            output.line(line)?;
        }
        Ok(())
    }

    fn variables(&self) -> Zeroizing<String> {
        let mut lines = vec![
            format!("OBNAM_REPOSITORY={}", quoted(self.location)),
            format!("OBNAM_REPOSITORY_ID={}", self.repository),
        ];
        if let (Some(_), [(_, id)]) = (self.client, self.credentials.as_slice()) {
            lines.push(format!("OBNAM_CREDENTIAL={id}"));
        }
        if let Some(passphrase) = self.passphrase {
            lines.push(format!("OBNAM_PASSPHRASE={}", quoted(passphrase)));
        }
        Zeroizing::new(lines.join("\n") + "\n")
    }
}
