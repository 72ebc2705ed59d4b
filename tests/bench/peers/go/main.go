// What one writes with net/http and franz-go instead of using the module:
// each file of a form, or a whole body, is one record, and the answer is sent
// once all of them are acknowledged by all replicas.
//
// Takes PORT, BROKERS and TOPIC from the environment.  Files leave while the
// form still arrives; their buffers are used again.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

type server struct {
	kafka *kgo.Client
}

// One request's records: what was sent, and what came back of it.
type upload struct {
	pending sync.WaitGroup
	buffers []*bytes.Buffer
	mutex   sync.Mutex
	failed  error
}

func (s *server) send(u *upload, body io.Reader) error {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	if _, err := b.ReadFrom(body); err != nil {
		buffers.Put(b)
		return err
	}
	u.buffers = append(u.buffers, b)
	u.pending.Add(1)
	s.kafka.Produce(context.Background(), &kgo.Record{Value: b.Bytes()},
		func(_ *kgo.Record, err error) {
			if err != nil {
				u.mutex.Lock()
				u.failed = err
				u.mutex.Unlock()
			}
			u.pending.Done()
		})
	return nil
}

// Waits for the acknowledgements, whatever became of the request.
func (u *upload) answer(w http.ResponseWriter, err error) {
	u.pending.Wait()
	for _, b := range u.buffers {
		buffers.Put(b)
	}
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case u.failed != nil:
		http.Error(w, u.failed.Error(), http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "{\"files\":%d}\n", len(u.buffers))
	}
}

func (s *server) files(u *upload, r *http.Request) error {
	parts, err := r.MultipartReader()
	if err != nil {
		return err
	}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if part.FileName() == "" {
			continue
		}
		if err := s.send(u, part); err != nil {
			return err
		}
	}
}

func (s *server) form(w http.ResponseWriter, r *http.Request) {
	var u upload
	u.answer(w, s.files(&u, r))
}

func (s *server) raw(w http.ResponseWriter, r *http.Request) {
	var u upload
	u.answer(w, s.send(&u, r.Body))
}

func main() {
	kafka, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("BROKERS")),
		kgo.DefaultProduceTopic(os.Getenv("TOPIC")),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// Pictures don't shrink, and the others send them as they are.
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		log.Fatal(err)
	}
	s := &server{kafka}
	http.HandleFunc("POST /form", s.form)
	http.HandleFunc("POST /raw", s.raw)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
