//! Search from outside: the list over HTTP and its pages, the original's route, the command line, and bad input.

use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

fn with_records() -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for (name, model_type, description, metadata) in [
        ("wheat", "vision", "小麦分类模型", json!({"num_classes": 12, "backbone": "resnet50"})),
        ("rice", "vision", "水稻病害识别", json!({"num_classes": 5})),
        ("writer", "transformer", "", json!({"layers": 30})),
        ("agriculture_classification", "classification", "测试模型", json!({"num_classes": 20})),
    ] {
        let body =
            json!({"name": name, "model_type": model_type, "description": description, "hyperparameters": metadata});
        let answer = server.post_json("/api/models", &body);
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    (seedhouse, server)
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|model| model["model_id"].as_str().unwrap()).collect()
}

#[test]
fn list_is_searched_filtered_and_ordered() {
    let (_seedhouse, server) = with_records();
    let all = ["agriculture_classification_v1", "writer_v1", "rice_v1", "wheat_v1"];
    for (parameters, expected) in [
        ("", all.to_vec()),
        ("search=%E6%A8%A1%E5%9E%8B", vec![all[0], all[3]]),
        ("search=%E6%B5%8B", vec![all[0]]),
        ("search=ricult", vec![all[0]]),
        ("search=classif+%E6%B5%8B%E8%AF%95", vec![all[0]]),
        ("filter=metadata.num_classes+%3E%3D+10", vec![all[0], all[3]]),
        ("filter=metadata.num_classes+%3E%3D+10&type=vision", vec![all[3]]),
        ("filter=type+%3D+vision&order_by=-metadata.num_classes", vec![all[3], all[2]]),
        ("order_by=name&status=registered", vec![all[0], all[2], all[3], all[1]]),
    ] {
        assert_eq!(ids(&server.get(&format!("/api/models?{parameters}")).json()), expected, "{parameters}");
    }
}

#[test]
fn next_page_is_named_by_the_link_header_and_not_disturbed_by_new_versions() {
    let (_seedhouse, server) = with_records();
    let mut address = "/api/models?order_by=-registration&limit=2&filter=type+!%3D+x".to_owned();
    let mut seen = Vec::new();
    for page in 0.. {
        let answer = server.get(&address);
        assert_eq!(answer.status, 200, "{}", answer.text);
        seen.extend(ids(&answer.json()).into_iter().map(str::to_owned));
        let Some(next) = answer.link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) else {
            assert_eq!(answer.link, "");
            break;
        };
        assert_eq!(next.matches("cursor=").count(), 1, "{next}");
        address = next.to_owned();
        assert_eq!(server.post_json("/api/models", &json!({"name": format!("late{page}")})).status, 201);
    }
    assert_eq!(seen, ["agriculture_classification_v1", "writer_v1", "rice_v1", "wheat_v1"]);
    assert_eq!(server.get("/api/models").link, "", "a whole list has no next page");
}

#[test]
fn original_search_answers_in_its_shape() {
    let (_seedhouse, server) = with_records();
    let path = "/api/model-manager/search";
    let body = json!({"query": "模型", "filters": {"type": "vision", "metadata": {"num_classes": 12}}});
    let answer = server.post_json(path, &body).json();
    assert_eq!((&answer["total_count"], &answer["total_is_exact"]), (&json!(1), &json!(true)));
    assert_eq!((&answer["query"], &answer["filters"]), (&body["query"], &body["filters"]));
    assert_eq!(answer["results"][0]["type"], "vision", "records are shown as stored");
    assert_eq!(answer["results"][0]["metadata"]["backbone"], "resnet50");
    assert!(answer.get("next_cursor").is_none());
    assert_eq!(server.post(path, "{}").json()["total_count"], 4);
    assert_eq!(server.post_json(path, &json!({"filters": {"accuracy": 0.9}})).json()["results"], json!([]));

    let mut body =
        json!({"filter": "metadata.num_classes IS NOT NULL", "order_by": "metadata.num_classes", "limit": 2});
    let first = server.post_json(path, &body).json();
    assert_eq!((ids(&first["results"]), &first["total_count"]), (vec!["rice_v1", "wheat_v1"], &json!(3)));
    body["cursor"] = first["next_cursor"].clone();
    let second = server.post_json(path, &body).json();
    assert_eq!((ids(&second["results"]), &second["total_count"]), (vec!["agriculture_classification_v1"], &json!(3)));
    assert!(second.get("next_cursor").is_none());
}

#[test]
fn command_line_lists_pages_as_an_object_and_everything_as_an_array() {
    let (seedhouse, _server) = with_records();
    let filter = "metadata.num_classes >= 10 AND type IN (vision, 'classification')";
    let list = seedhouse.json(&["list", "--filter", filter, "--order", "-metadata.num_classes"]);
    assert_eq!(ids(&list), ["agriculture_classification_v1", "wheat_v1"]);
    assert_eq!(ids(&seedhouse.json(&["list", "--search", "病害", "--type", "vision"])), ["rice_v1"]);

    let page = seedhouse.json(&["list", "--order", "-created_at", "--limit", "3"]);
    assert_eq!(page["entries"].as_array().unwrap().len(), 3);
    let cursor = page["next_cursor"].as_str().unwrap();
    let last = seedhouse.json(&["list", "--order", "-created_at", "--cursor", cursor]);
    assert_eq!((ids(&last["entries"]), &last["next_cursor"]), (vec!["wheat_v1"], &Value::Null));
    let run = seedhouse.run(&["list", "--limit", "1"]);
    assert!(run.stdout.contains("agriculture") && run.stderr.contains("more: --cursor "), "{run:?}");
}

#[test]
fn mistakes_are_named_with_what_was_expected() {
    let (seedhouse, server) = with_records();
    for (parameters, parts) in [
        ("filter=colour+%3D+red", vec!["`filter`", "at character 1", "no field `colour`"]),
        ("filter=type+%3D+a+OR+type+%3D+b", vec!["at character 10", "`OR` found", "OR is not supported"]),
        ("filter=size_bytes+%3E+big", vec!["`size_bytes` is compared with a whole number", "`big`"]),
        ("filter=metadata+%3D+1", vec!["`metadata` is a group"]),
        ("limit=0", vec!["`limit` is `0`", "at least 1"]),
        ("limit=many", vec!["limit"]),
        ("order_by=colour", vec!["`order_by`", "no field `colour`"]),
        ("order_by=description", vec!["`order_by`", "registration, model_id"]),
        ("cursor=0123", vec!["`cursor` is `0123`", "not a cursor of this query"]),
        ("status=running", vec!["`status` is `running`"]),
    ] {
        server.get(&format!("/api/models?{parameters}")).assert_problem(400, &parts);
    }
    let many: Vec<String> = (0..33).map(|number| format!("metadata.k{number} = 1")).collect();
    let deep = "{\"metadata\":".repeat(100_000);
    for (body, parts) in [
        (json!({"filter": many.join(" AND ")}).to_string(), vec!["33 conditions", "at most 32"]),
        (json!({"filter": "长".repeat(5000)}).to_string(), vec!["5000 characters", "at most 4096"]),
        (json!({"query": "长".repeat(257)}).to_string(), vec!["`search`", "257 characters", "at most 256"]),
        (json!({"filters": {"colour": 1}}).to_string(), vec!["`filters.colour`", "no field"]),
        (json!({"filters": {"type": ["a"]}}).to_string(), vec!["`filters.type`", "must be a text"]),
        (json!({"filters": "type"}).to_string(), vec!["`filters`"]),
        (format!("{{\"filters\": {deep}"), vec!["JSON body", "recursion limit"]),
    ] {
        server.post("/api/model-manager/search", &body).assert_problem(400, &parts);
    }
    let cursor = server.post_json("/api/model-manager/search", &json!({"limit": 1})).json()["next_cursor"].clone();
    let other = json!({"cursor": cursor, "order_by": "name"});
    server.post_json("/api/model-manager/search", &other).assert_problem(400, &["`cursor`", "another one"]);
    seedhouse
        .run(&["list", "--filter", "type ~ x"])
        .assert_failed(2, &["at character 6", "was expected and `~` found"]);
    seedhouse.run(&["list", "--limit", "0"]).assert_failed(2, &["`limit` is `0`"]);
    seedhouse.run(&["list", "--order", "size"]).assert_failed(2, &["no field `size`"]);
}
