package rowcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Read reads all rows of the tables at endpoint, over https, under a bearer token for storage. do sends a request. It takes no
// snapshot: nobody may write meanwhile. Its errors name the table.
func Read(ctx context.Context, do func(*http.Request) (*http.Response, error), endpoint, token string) (t Tables, err error) {
	for table, into := range map[string]*[]Row{
		"subjects": &t.Subjects, "codes": &t.Codes, "journal": &t.Journal, "identities": &t.Identities, "feed": &t.Feed, "lists": &t.Lists, "unique": &t.Unique,
	} {
		next := url.Values{}
		for more := true; more; {
			var page []Row
			if page, next, err = readPage(ctx, do, endpoint+"/"+table+"()?"+next.Encode(), token); err != nil {
				return Tables{}, fmt.Errorf("reading %s: %w", table, err)
			}
			*into = append(*into, page...)
			more = len(next) > 0
		}
	}
	return t, nil
}

// readPage is one "Query Entities"; next is what continues it, empty at the end
// (https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination).
func readPage(ctx context.Context, do func(*http.Request) (*http.Response, error), address, token string) (rows []Row, next url.Values, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json;odata=nometadata")
	req.Header.Set("x-ms-version", "2019-02-02")
	req.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
	resp, err := do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("storage answers %s", resp.Status)
	}
	var page struct{ Value []Row }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		return nil, nil, err
	}
	next = url.Values{}
	for header, parameter := range map[string]string{
		"x-ms-continuation-NextPartitionKey": "NextPartitionKey", "x-ms-continuation-NextRowKey": "NextRowKey",
	} {
		if value := resp.Header.Get(header); value != "" {
			next.Set(parameter, value)
		}
	}
	return page.Value, next, nil
}
