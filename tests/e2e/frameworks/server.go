// A partner with Go's net/http: `server PORT`.
package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

type event struct {
	ID string `json:"id"`
}

// Result has every field of the documents, and writes the zero of what is not set.
type result struct {
	ID         string                 `json:"id"`
	Status     string                 `json:"status"`
	Outcome    string                 `json:"outcome"`
	Reason     string                 `json:"reason"`
	Detail     string                 `json:"detail"`
	Extend     bool                   `json:"extend"`
	ExpectedBy time.Time              `json:"expected_by"`
	Evidence   map[string]interface{} `json:"evidence"`
	Vocabulary string                 `json:"vocabulary"`
	Code       string                 `json:"code"`
	Amends     bool                   `json:"amends"`
}

type reply struct {
	Results []result `json:"results"`
}

// Untagged is written by the names of its fields.
type untagged struct {
	Results []struct{ ID, Status, Outcome string }
}

func events(r *http.Request) []event {
	var found []event
	if err := json.NewDecoder(r.Body).Decode(&found); err != nil {
		panic(err)
	}
	return found
}

func results(r *http.Request, status string, outcome string) reply {
	var made reply
	for _, each := range events(r) {
		made.Results = append(made.Results, result{ID: each.ID, Status: status, Outcome: outcome})
	}
	return made
}

func write(w http.ResponseWriter, body interface{}) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

func main() {
	http.HandleFunc("/zeros", func(w http.ResponseWriter, r *http.Request) {
		write(w, results(r, "completed", "deleted"))
	})
	http.HandleFunc("/zeros-completed", func(w http.ResponseWriter, r *http.Request) {
		write(w, results(r, "completed", ""))
	})
	http.HandleFunc("/zeros-refused", func(w http.ResponseWriter, r *http.Request) {
		made := results(r, "refused", "")
		for i := range made.Results {
			made.Results[i].Reason = "exempt"
		}
		write(w, made)
	})
	http.HandleFunc("/upper", func(w http.ResponseWriter, r *http.Request) {
		made := results(r, "COMPLETED", "DELETED")
		for i := range made.Results {
			made.Results[i].ID = strings.ToUpper(made.Results[i].ID)
		}
		write(w, made)
	})
	http.HandleFunc("/untagged", func(w http.ResponseWriter, r *http.Request) {
		var made untagged
		for _, each := range events(r) {
			made.Results = append(made.Results, struct{ ID, Status, Outcome string }{each.ID, "completed", "deleted"})
		}
		write(w, made)
	})
	http.HandleFunc("/nil", func(w http.ResponseWriter, r *http.Request) {
		write(w, reply{})
	})
	http.HandleFunc("/lines", func(w http.ResponseWriter, r *http.Request) {
		for _, each := range results(r, "completed", "deleted").Results {
			write(w, each)
		}
	})
	http.HandleFunc("/flushed", func(w http.ResponseWriter, r *http.Request) {
		body, _ := json.Marshal(results(r, "completed", "deleted"))
		for start := 0; start < len(body); start += 100 {
			end := start + 100
			if end > len(body) {
				end = len(body)
			}
			w.Write(body[start:end])
			w.(http.Flusher).Flush()
		}
	})
	http.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Checksum")
		write(w, results(r, "completed", "deleted"))
		w.(http.Flusher).Flush()
		w.Header().Set("X-Checksum", "1234")
	})
	http.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		json.NewEncoder(packed).Encode(results(r, "completed", "deleted"))
		packed.Close()
	})
	http.HandleFunc("/gzip-unpacked", func(w http.ResponseWriter, r *http.Request) {
		// As behind a proxy that unpacks the body and forgets the header.
		w.Header().Set("Content-Encoding", "gzip")
		write(w, results(r, "completed", "deleted"))
	})
	http.HandleFunc("/close", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		write(w, results(r, "completed", "deleted"))
	})
	http.HandleFunc("/html-letters", func(w http.ResponseWriter, r *http.Request) {
		made := results(r, "completed", "deleted")
		for i := range made.Results {
			made.Results[i].Detail = "<deleted> & gone"
		}
		write(w, made)
	})
	http.HandleFunc("/text", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "got %d events\n", len(events(r)))
	})
	http.HandleFunc("/nothing", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	http.HandleFunc("/slash/", func(w http.ResponseWriter, r *http.Request) {
		write(w, results(r, "completed", "deleted"))
	})
	http.HandleFunc("/error", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "the database is away", http.StatusInternalServerError)
	})
	http.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) {
		panic("the database is away")
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
