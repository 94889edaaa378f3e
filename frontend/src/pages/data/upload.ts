/** One file on its way to the studio: the file itself is the body, so that a browser reads it from disk in pieces. */
import { ApiError, type Upload } from '../../api/client';

export interface Sending { promise: Promise<Upload>; stop(): void }

export function send(file: File, told: (share: number) => void): Sending {
  const request = new XMLHttpRequest();
  const promise = new Promise<Upload>((resolve, reject) => {
    request.open('POST', `/api/v1/datasets/upload?filename=${encodeURIComponent(file.name)}`);
    request.responseType = 'json';
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.onprogress = (event) => { if (event.lengthComputable) told(event.loaded / event.total); };
    request.onload = () => {
      const body = request.response as (Upload & { detail?: string; title?: string; errors?: ApiError['problem']['errors'] }) | null;
      if (request.status < 300 && body) resolve(body);
      else reject(new ApiError({ title: body?.title ?? request.statusText, status: request.status, detail: body?.detail ?? `The server answered ${request.status}.`, errors: body?.errors ?? [] }));
    };
    request.onerror = () => reject(new ApiError({ title: 'No connection', status: 0, detail: 'The connection broke before the file had arrived: nothing of it is kept.', errors: [] }));
    request.onabort = () => reject(new ApiError({ title: 'Stopped', status: 0, detail: 'Stopped: nothing of it is kept.', errors: [] }));
    request.send(file);
  });
  return { promise, stop: () => request.abort() };
}
