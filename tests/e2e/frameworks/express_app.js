// A partner in Express: `node express_app.js PORT`.
'use strict';

const zlib = require('node:zlib');
const compression = require('compression');
const express = require('express');

const app = express();

// By the tutorial: it reads application/json alone, and nothing of what comes.
app.post('/tutorial', express.json(), (req, res) => {
  res.json({ results: req.body.map((event) => ({ id: event.id, status: 'completed' })) });
});

app.use(express.json({ type: 'application/*+json', limit: '10mb' }));

const completed = (event) => ({ id: event.id, status: 'completed', outcome: 'deleted' });
const results = (req) => ({ results: req.body.map(completed) });

app.post('/results', (req, res) => res.json(results(req)));
app.post('/compressed', compression({ threshold: 0 }), (req, res) => res.json(results(req)));
app.post('/list', (req, res) => res.send(req.body.map(completed)));
app.post('/spread', (req, res) => {
  res.json({ results: req.body.map((event) => ({ ...event, status: 'COMPLETED', outcome: 'alreadyDeleted' })) });
});
app.post('/in-progress', (req, res) => {
  res.json({ results: req.body.map(({ id }) => ({ id, status: 'inProgress', expected_by: new Date(4102444800000) })) });
});
app.post('/braces', (req, res) => {
  res.json({ results: req.body.map(({ id }) => ({ id: `{${id.toUpperCase()}}`, status: 'completed' })) });
});
app.post('/camel-case', (req, res) => {
  res.json({ results: req.body.map(({ id }) => ({ noticeId: id, status: 'completed' })) });
});
app.post('/by-id', (req, res) => {
  res.json({ results: Object.fromEntries(req.body.map(({ id }) => [id, { status: 'completed' }])) });
});
app.post('/ids', (req, res) => res.json({ processed: req.body.map(({ id }) => id) }));
app.post('/lambda', (req, res) => res.json({ statusCode: 200, body: JSON.stringify(results(req)) }));
app.post('/emoji', (req, res) => {
  // Half a letter, as of a name that was cut.
  const items = req.body.map((event) => ({ ...completed(event), detail: 'deleted' }));
  items[0].detail = 'deleted \u{1F44D}'.slice(0, 9);
  res.json({ results: items });
});

// Ways to send it
app.post('/chunked', (req, res) => {
  res.type('json').write('{"results": [');
  res.write(req.body.map((event) => JSON.stringify(completed(event))).join(','));
  res.end(']}');
});
app.post('/early-hints', (req, res) => {
  res.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
  res.json(results(req));
});
app.post('/no-type', (req, res) => res.end(JSON.stringify(results(req))));
app.post('/deflate', (req, res) => {
  res.set('Content-Encoding', 'deflate').send(zlib.deflateSync(JSON.stringify(results(req))));
});
app.post('/deflate-raw', (req, res) => {
  res.set('Content-Encoding', 'deflate').send(zlib.deflateRawSync(JSON.stringify(results(req))));
});
app.post('/brotli', (req, res) => {
  res.set('Content-Encoding', 'br').send(zlib.brotliCompressSync(JSON.stringify(results(req))));
});
app.post('/length', (req, res) => {
  // In letters, which are fewer than the bytes.
  const body = JSON.stringify({ results: req.body.map((event) => ({ ...completed(event), detail: 'gelöscht' })) });
  res.writeHead(200, { 'Content-Length': body.length });
  res.end(body);
});

// Other answers
app.post('/send-status', (req, res) => res.sendStatus(200));
app.post('/ok', (req, res) => res.json({ ok: true }));
app.post('/page', (req, res) => res.send('<h1>Thank you</h1>'));
app.post('/empty', (req, res) => res.status(201).end());
app.post('/crash', () => {
  throw new Error('the database is away');
});
app.post('/crash-compressed', compression({ threshold: 0 }), (req, res) => {
  res.status(500).send('the database is away');
});

app.listen(Number(process.argv[2]), '127.0.0.1');
