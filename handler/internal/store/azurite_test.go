package store

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"latchkey/infra/local/certs"
)

// azurite is one Azurite of this test process: in memory, over TLS, with OAuth. The account "empty" has no tables.
type azurite struct {
	base        string // https://127.0.0.1:port
	client      *http.Client
	certificate tls.Certificate // one for 127.0.0.1 that client trusts
}

var shared struct {
	once sync.Once
	it   azurite
	err  error
	stop func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	os.Exit(code)
}

const (
	localFolder = "../../../infra/local"
	account     = "devstoreaccount1"
)

// start starts Azurite with the first test that needs it. Where Node or its packages are missing the test is skipped, but
// it fails where CI is set.
func start(t *testing.T) azurite {
	t.Helper()
	shared.once.Do(func() { shared.it, shared.stop, shared.err = launch() })
	if shared.err != nil {
		if os.Getenv("CI") == "" && errors.Is(shared.err, errNoNode) {
			t.Skip(shared.err)
		}
		t.Fatal(shared.err)
	}
	return shared.it
}

var errNoNode = errors.New("the tests need Node 20 and `npm ci` in infra/local, for Azurite")

func launch() (azurite, func(), error) {
	script, err := filepath.Abs(filepath.Join(localFolder, "node_modules/azurite/dist/src/table/main.js"))
	if err != nil {
		return azurite{}, nil, err
	}
	if _, err := os.Stat(script); err != nil {
		return azurite{}, nil, errNoNode
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return azurite{}, nil, errNoNode
	}
	dir, err := os.MkdirTemp("", "latchkey-store-")
	if err != nil {
		return azurite{}, nil, err
	}
	files, err := certs.Make(dir, time.Now())
	if err != nil {
		return azurite{}, nil, err
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		return azurite{}, nil, err
	}
	certificate, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return azurite{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	// Azurite's --tablePort 0 does not say which port it got.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return azurite{}, nil, err
	}
	address := listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	listener.Close()

	cmd := exec.Command(node,
		// It ends with us, however we end.
		"--import", `data:text/javascript,process.stdin.resume();process.stdin.on("end",()=>process.exit(0))`,
		script, "--silent", "--disableTelemetry", "--inMemoryPersistence", "--tableHost", "127.0.0.1", "--tablePort", port, "--tableKeepAliveTimeout", "120",
		"--oauth", "basic", "--cert", files.Cert, "--key", files.Key)
	cmd.Dir = dir
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 64))
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+account+":"+key+";empty:"+key)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return azurite{}, nil, err
	}
	if err := cmd.Start(); err != nil {
		return azurite{}, nil, err
	}
	stop := func() {
		stdin.Close()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	}
	for range 300 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			a := azurite{base: "https://" + address, client: &http.Client{Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64,
			}}, certificate: certificate}
			return a, stop, a.createTables()
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	return azurite{}, nil, fmt.Errorf("no Azurite: %s", said.String())
}

func (a azurite) service() (*aztables.ServiceClient, error) {
	return aztables.NewServiceClient(a.base+"/"+account, bearer{}, &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.client}})
}

func (a azurite) createTables() error {
	service, err := a.service()
	if err != nil {
		return err
	}
	for _, table := range Tables() {
		if _, err := service.CreateTable(context.Background(), table, nil); err != nil {
			return err
		}
	}
	return nil
}

// store makes a Store on Azurite behind a transport.
func (a azurite) store(t *testing.T, account string, transport policy.Transporter) *Store {
	t.Helper()
	s, err := New(a.base+"/"+account, bearer{}, Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// dump returns all rows of a table, or of one partition, as "partition row" to JSON without what changes by itself.
func (a azurite) dump(t *testing.T, table, partition string) map[string]string {
	t.Helper()
	service, err := a.service()
	if err != nil {
		t.Fatal(err)
	}
	o := &aztables.ListEntitiesOptions{}
	if partition != "" {
		filter := "PartitionKey eq '" + partition + "'"
		o.Filter = &filter
	}
	rows := map[string]string{}
	for pager := service.NewClient(table).NewListEntitiesPager(o); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entities {
			var row map[string]any
			if err := json.Unmarshal(e, &row); err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprint(row["PartitionKey"], " ", row["RowKey"])
			for column := range row {
				if strings.HasPrefix(column, "odata.") || strings.HasPrefix(column, "Timestamp") || column == "PartitionKey" || column == "RowKey" {
					delete(row, column)
				}
			}
			text, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			rows[key] = string(text)
		}
	}
	return rows
}

// bearer is a credential whose tokens Azurite takes: it checks their claims, not their signature (engines.md section 1b).
type bearer struct{ err error }

func (b bearer) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	encode := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now()
	token := encode(map[string]any{"alg": "RS256", "typ": "JWT"}) + "." + encode(map[string]any{
		"iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/", "aud": "https://storage.azure.com",
		"iat": now.Unix() - 60, "nbf": now.Unix() - 60, "exp": now.Unix() + 3600,
	}) + ".c2lnbmF0dXJl"
	return azcore.AccessToken{Token: token, ExpiresOn: now.Add(time.Hour)}, b.err
}

// transport is a way to Azurite that a test can bend.
type transport func(*http.Request) (*http.Response, error)

func (f transport) Do(req *http.Request) (*http.Response, error) { return f(req) }
