// A partner in plain Java: `java Server.java PORT`.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.zip.GZIPOutputStream;

public class Server {
    enum Status { IN_PROGRESS, COMPLETED }

    record Result(UUID id, Status status) {
        String json() {
            return "{\"id\": \"%s\", \"status\": \"%s\", \"detail\": \"gel\u00f6scht\"}".formatted(id, status);
        }
    }

    interface Handler {
        void handle(HttpExchange exchange) throws IOException;
    }

    private static final Pattern ID = Pattern.compile("\"specversion\":\"1.0\",\"id\":\"([^\"]+)\"");

    static List<Result> results(HttpExchange exchange) throws IOException {
        String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
        List<Result> found = new ArrayList<>();
        for (Matcher matcher = ID.matcher(body); matcher.find(); ) {
            found.add(new Result(UUID.fromString(matcher.group(1)), Status.COMPLETED));
        }
        return found;
    }

    static String json(List<Result> results) {
        return results.stream().map(Result::json).collect(Collectors.joining(", ", "{\"results\": [", "]}"));
    }

    static void answer(HttpExchange exchange, int status, String body, Charset charset) throws IOException {
        byte[] bytes = body.getBytes(charset);
        exchange.sendResponseHeaders(status, bytes.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(bytes);
        }
    }

    static void answer(HttpExchange exchange, int status, String body) throws IOException {
        answer(exchange, status, body, StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) throws IOException {
        var address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0]));
        HttpServer server = HttpServer.create(address, 0);
        server.setExecutor(Executors.newCachedThreadPool());
        Map<String, Handler> handlers = new LinkedHashMap<>();
        handlers.put("/enum", exchange -> answer(exchange, 200, json(results(exchange))));
        handlers.put("/upper", exchange -> {
            String items = results(exchange).stream()
                .map(result -> "{\"id\": \"%s\", \"status\": \"%s\"}".formatted(
                    result.id().toString().toUpperCase(), result.status()))
                .collect(Collectors.joining(","));
            answer(exchange, 200, "{\"results\": [" + items + "]}");
        });
        handlers.put("/chunked", exchange -> {
            String body = json(results(exchange));
            exchange.sendResponseHeaders(200, 0);
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(body.getBytes(StandardCharsets.UTF_8));
            }
        });
        handlers.put("/printed-map", exchange ->
            answer(exchange, 200, Map.of("results", results(exchange)).toString()));
        handlers.put("/length", exchange -> {
            // In letters, which are fewer than the bytes: the stream refuses them, and none of them is sent.
            String body = json(results(exchange));
            exchange.sendResponseHeaders(200, body.length());
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(body.getBytes(StandardCharsets.UTF_8));
            }
        });
        handlers.put("/latin-1", exchange ->
            answer(exchange, 200, json(results(exchange)), StandardCharsets.ISO_8859_1));
        handlers.put("/utf-16", exchange ->
            answer(exchange, 200, json(results(exchange)), StandardCharsets.UTF_16));
        handlers.put("/content-encoding", exchange -> {
            // Meant is the charset.
            exchange.getResponseHeaders().set("Content-Encoding", "UTF-8");
            answer(exchange, 200, json(results(exchange)));
        });
        handlers.put("/gzip", exchange -> {
            String body = json(results(exchange));
            exchange.getResponseHeaders().set("Content-Encoding", "x-gzip");
            exchange.sendResponseHeaders(200, 0);
            try (OutputStream out = new GZIPOutputStream(exchange.getResponseBody())) {
                out.write(body.getBytes(StandardCharsets.UTF_8));
            }
        });
        handlers.put("/nothing", exchange -> {
            exchange.sendResponseHeaders(204, -1);
            exchange.close();
        });
        handlers.put("/text", exchange -> answer(exchange, 200, "Danke sch\u00f6n"));
        handlers.put("/error", exchange -> answer(exchange, 500, "the database is away"));
        handlers.put("/throws", exchange -> {
            throw new IllegalStateException("the database is away");
        });
        handlers.forEach((path, handler) -> server.createContext(path, handler::handle));
        server.start();
    }
}
