// Directories, processes and waiting: what every harness here needs.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** Artefacts that outlive the run: screenshots and logs. */
export const OUT = path.join(ROOT, 'tests/out');
mkdirSync(OUT, { recursive: true });

/** A directory that `remove` takes away again. */
export function scratch(name) {
  const dir = mkdtempSync(path.join(tmpdir(), `relayd-${name}-`));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }) };
}

/**
 * A child process with its lines kept in tests/out/<name>.log.
 *
 * `line(pick)` resolves with the first truthy `pick(text)`, over lines already seen too, and rejects when the process
 * ends first or `ms` pass; `stop()` ends this process and no other.
 */
export function child(name, command, args, options = {}) {
  const log = createWriteStream(path.join(OUT, `${name}.log`));
  const process_ = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  // A test that dies leaves no server behind.
  const killWithUs = () => process_.kill('SIGKILL');
  process.once('exit', killWithUs);
  process_.once('close', () => process.off('exit', killWithUs));
  const lines = [];
  const waiting = new Set();
  let ended = null;
  const end = (why) => {
    if (ended) return;
    ended = why;
    for (const waiter of waiting) waiter.fail(why);
    waiting.clear();
  };
  for (const stream of [process_.stdout, process_.stderr]) {
    createInterface({ input: stream }).on('line', (text) => {
      log.write(`${text}\n`);
      lines.push(text);
      for (const waiter of waiting) waiter.see(text);
    });
  }
  process_.on('error', (error) => end(`${command} cannot be started: ${error.message}`));
  process_.on('close', (code, signal) => end(`${command} ended with ${signal ?? code}; its last lines:\n${lines.slice(-15).join('\n')}`));

  return {
    pid: process_.pid,
    lines,
    line(pick, what, ms = 20000) {
      for (const text of lines) {
        const found = pick(text);
        if (found) return Promise.resolve(found);
      }
      if (ended) return Promise.reject(new Error(ended));
      return new Promise((resolve, reject) => {
        const waiter = {
          see(text) {
            const found = pick(text);
            if (!found) return;
            clearTimeout(timer);
            waiting.delete(waiter);
            resolve(found);
          },
          fail(why) {
            clearTimeout(timer);
            reject(new Error(why));
          },
        };
        const timer = setTimeout(() => {
          waiting.delete(waiter);
          reject(new Error(`${command} did not print ${what} within ${ms} ms; its last lines:\n${lines.slice(-15).join('\n')}`));
        }, ms);
        waiting.add(waiter);
      });
    },
    alive: () => ended === null,
    /** SIGTERM, and SIGKILL where `ms` do not suffice; resolves with the exit code or signal. */
    stop(ms = 5000) {
      return new Promise((resolve) => {
        if (process_.exitCode !== null || process_.signalCode !== null || ended) return resolve(process_.exitCode ?? process_.signalCode);
        const timer = setTimeout(() => process_.kill('SIGKILL'), ms);
        process_.on('close', (code, signal) => {
          clearTimeout(timer);
          log.end();
          resolve(code ?? signal);
        });
        process_.kill('SIGTERM');
      });
    },
  };
}

/** Asks `question` again until its answer is truthy; the deadline names what was waited for. */
export async function until(what, question, ms = 20000) {
  const deadline = Date.now() + ms;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
