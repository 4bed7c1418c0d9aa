use super::*;
use crate::cli::terminal::capture;

/// A folder with one file in it, explained where neither configuration nor store are.
async fn explained(name: &str, text: &str) -> (Exit, serde_json::Value, String, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("writable");
    let input = Input::read(&file).expect("readable");
    let defaults = crate::config::Config::load_from(None, []).expect("the defaults").config;
    let (app, _stand_in) = StandIn::build(defaults).await.expect("the neighbourhood");
    let (mut terminal, _, err) = capture::terminal();
    let client = client(None, &input, &app, &mut terminal).await.expect("a client");
    let body = bytes::Bytes::from(input.bytes.clone());
    let explanation = app.gateway.explain(&client, &body, input.media_type()).await.expect("explained");
    let left = std::fs::read_dir(folder.path()).expect("readable").flatten();
    let left = left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let exit = Exit::answer(explanation.outcome != "refuse");
    (exit, serde_json::to_value(&explanation).expect("JSON"), err.text(), left)
}

const MESSAGE: &str = include_str!("../../../../../fixtures/messages/edischarge-itk3.xml");

#[tokio::test]
async fn a_discharge_is_explained_without_a_gateway() {
    let (exit, explanation, said, left) = explained("discharge.xml", MESSAGE).await;
    assert_eq!((exit, explanation["outcome"].as_str()), (Exit::Done, Some("deliver")), "{explanation}");
    assert!(said.contains("made up for this run"), "{said}");
    let recipients: Vec<_> =
        explanation["recipients"].as_array().expect("a list").iter().map(|r| r["recipient"].clone()).collect();
    assert!(recipients.contains(&"care-home".into()) && recipients.len() == 5, "{recipients:?}");
    assert_eq!(left, ["discharge.xml"], "nothing is left beside the file");
}

#[tokio::test]
async fn what_cannot_be_read_would_be_refused() {
    let (exit, explanation, ..) = explained("broken.xml", "<Bundle").await;
    assert_eq!((exit, explanation["outcome"].as_str()), (Exit::No, Some("refuse")));
    assert_eq!(explanation["recipients"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn of_several_clients_it_says_which_one_explains() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("discharge.xml");
    std::fs::write(&file, MESSAGE).expect("writable");
    let input = Input::read(&file).expect("readable");
    let defaults = crate::config::Config::load_from(None, []).expect("the defaults").config;
    let (app, _stand_in) = StandIn::build(defaults).await.expect("the neighbourhood");
    for (id, nhs_number_policy) in [("ward-epr", NhsNumberPolicy::Refuse), ("annex-epr", NhsNumberPolicy::Hold)] {
        let client = Client {
            id: id.to_owned(),
            ods: sender(&input).expect("a sender"),
            role: Role::Sender,
            jwks: r#"{"keys":[]}"#.to_owned(),
            certificate_sha256: None,
            mesh_mailbox: None,
            nhs_number_policy,
            disabled: false,
            under: None,
        };
        app.gateway.store().put_client(client, Vec::new()).await.expect("committed");
    }
    let (mut terminal, _, err) = capture::terminal();
    let first = client(None, &input, &app, &mut terminal).await.expect("a client");
    assert_eq!(first.id, "annex-epr");
    let said = err.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("2 clients are registered") && said.contains("ward-epr"), "{said}");
    assert!(said.contains("as client annex-epr") && said.contains("means: hold"), "{said}");
    let named = client(Some("ward-epr"), &input, &app, &mut terminal).await.expect("a client");
    let body = bytes::Bytes::from(input.bytes.clone());
    let explanation = app.gateway.explain(&named, &body, input.media_type()).await.expect("explained");
    assert_eq!(explanation.client, "ward-epr");
}
