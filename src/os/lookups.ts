// env's lookups over node:dns and node:https. Made by `node` and handed to the room `cluster`.
import { Resolver } from 'node:dns';
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import type { DnsQuestion, FoundHost, HttpsQuestion, Lookups } from '#env/lookups.js';

/** The name exists without such a record, or not at all: nobody is there yet. */
const nobody: ReadonlySet<string> = new Set(['ENODATA', 'ENOTFOUND']);

export class OsLookups implements Lookups {
  dns(question: DnsQuestion, done: (error: string | undefined, hosts: readonly FoundHost[]) => void): void {
    const { name, recordType, servers, timeoutMs } = question;
    const answer = (error: NodeJS.ErrnoException | null, hosts: readonly FoundHost[]): void => {
      if (error === null) done(undefined, hosts);
      else if (nobody.has(error.code ?? '')) done(undefined, []);
      else done(`DNS answers ${error.code ?? error.message} for ${name}`, []);
    };
    const plain = (error: NodeJS.ErrnoException | null, hosts: string[] | undefined): void =>
      answer(
        error,
        (hosts ?? []).map((host) => ({ host, port: undefined })),
      );
    try {
      const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
      if (servers.length > 0) resolver.setServers([...servers]);
      if (recordType === 'a') resolver.resolve4(name, plain);
      else if (recordType === 'aaaa') resolver.resolve6(name, plain);
      else {
        resolver.resolveSrv(name, (error, records) =>
          answer(
            error,
            (records ?? []).map((r) => ({ host: r.name, port: r.port })),
          ),
        );
      }
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      setImmediate(() => done(`DNS cannot be asked for ${name}: ${why}`, []));
    }
  }

  https(question: HttpsQuestion, done: (error: string | undefined, body: string) => void): void {
    const { url, tokenfile, cacertfile, timeoutMs, bytesMax } = question;
    let over = false;
    const finish = (error: string | undefined, body: string): void => {
      if (over) return;
      over = true;
      done(error, body);
    };
    try {
      const headers = { authorization: `Bearer ${readFileSync(tokenfile, 'utf8').trim()}`, accept: 'application/json' };
      const request = get(url, { headers, ca: readFileSync(cacertfile), signal: AbortSignal.timeout(timeoutMs), agent: false }, (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          bytes += part.length;
          if (bytes <= bytesMax) parts.push(part);
          else request.destroy(new Error(`the answer is longer than ${bytesMax} bytes`));
        });
        response.on('end', () => {
          const { statusCode } = response;
          if (statusCode === 200) finish(undefined, Buffer.concat(parts).toString('utf8'));
          else finish(`${url} answers with status ${statusCode ?? 0}`, '');
        });
        response.on('error', (error) => finish(`${url}: ${error.message}`, ''));
      });
      request.on('error', (error) =>
        finish(`${url}: ${error.name === 'AbortError' || error.name === 'TimeoutError' ? `no answer within ${timeoutMs} ms` : error.message}`, ''),
      );
    } catch (error) {
      setImmediate(() => finish(`${url} cannot be asked: ${error instanceof Error ? error.message : String(error)}`, ''));
    }
  }
}
